"""The work of every command."""
