"""Claims: a sentence of a paper written as a test, and judged from results."""
