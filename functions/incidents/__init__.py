"""What went wrong with an endpoint: what was seen, what was done, and what is left to a person."""
