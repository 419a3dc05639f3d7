"""Stored numbers: results, studies, their summary and comparison."""
