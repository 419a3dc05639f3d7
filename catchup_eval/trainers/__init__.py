"""Train a classifier with any of the methods."""
