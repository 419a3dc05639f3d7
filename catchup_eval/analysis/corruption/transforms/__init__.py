"""The corruptions, one file for each family."""
