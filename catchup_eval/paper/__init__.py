"""The Catch-up Mix paper: reproductions, tables, claims."""
