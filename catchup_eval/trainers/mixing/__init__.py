"""One way of mixing, one file."""
