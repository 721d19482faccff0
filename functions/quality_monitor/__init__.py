"""Watches how good a model is, by labels that come late."""
