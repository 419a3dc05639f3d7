"""Conventions that papers use for their numbers, computed from stored outcomes."""
