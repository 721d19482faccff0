"""Predicts for files of rows, with no endpoint."""
