"""Tells the experiment tracker of training runs."""
