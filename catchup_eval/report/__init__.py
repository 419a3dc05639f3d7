"""From results to figures, tables and pages."""
