"""The common corruptions as batched tensor functions."""
