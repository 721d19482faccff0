"""A stack on one page of HTML that needs nothing but itself: what it is, costs, may, serves, and how it is doing."""
