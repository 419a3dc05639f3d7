"""One file for each official layout on disk."""
