"""What training is for every product: the scripts of its jobs, and what its own code builds on.

A product is a package with features.py (SCHEMA, LABEL, and SENSITIVE where some groups of people are to be compared),
gate.py, train.py with a `main`, and inference.py with SageMaker's `model_fn` and `predict_fn`.
"""
