"""Keeps feature groups as their schema says, without ever losing a record."""
