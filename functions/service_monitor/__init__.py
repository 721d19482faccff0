"""Watches whether an endpoint answers, and in time."""
