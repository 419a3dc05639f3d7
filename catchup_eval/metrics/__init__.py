"""Pure numbers from arrays: one number, one function."""
