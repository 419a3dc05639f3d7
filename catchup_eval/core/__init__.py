"""The basis of all packages: errors, files, settings, randomness, bounded reading."""
