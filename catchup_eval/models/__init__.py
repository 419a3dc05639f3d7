"""Networks: one family a file, each wrapped so that it is asked in pixels."""
