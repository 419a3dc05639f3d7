"""Audits of a report, and its numbers under other conventions."""
