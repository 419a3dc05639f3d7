"""Whether a report is what was measured, and what it says under other conventions."""
