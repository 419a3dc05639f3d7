"""What several mixing methods need."""
