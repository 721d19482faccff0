"""Data with which products are rehearsed: what each product's `sample` names.

Such a module has `history()`, rows of which the answer is known: the schema's identifier, event time and features, and
the label; and `requests()`, rows to ask about: identifier and features. All are texts, as CSV has them, empty where a
value is missing. It may say `DATASET`, what the history is called, and `KNOWN`, when its answers were known, where that
was later than each row's event time.
"""
