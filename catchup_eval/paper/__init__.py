"""All that knows the Catch-up Mix paper: reproductions, tables, claims."""
