"""Train Catch-up Mix and its baselines, then ask any classifier how robust it is."""

__version__ = "0.1.0"
