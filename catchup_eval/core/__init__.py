"""What everything stands on: errors, files, settings, randomness, reading from outside."""
