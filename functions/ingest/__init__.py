"""Lets files of features into the feature store, but only rows that fit the schema."""
