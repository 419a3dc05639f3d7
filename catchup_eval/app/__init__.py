"""The commands: all that needs both wings."""
