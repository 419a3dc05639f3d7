"""What all figures have in common."""
