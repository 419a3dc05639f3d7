"""Networks: one family a file, each wrapped so that it takes pixels in [0, 1]."""
