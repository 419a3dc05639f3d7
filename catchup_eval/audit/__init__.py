"""Whether a report is what was measured: hashes, stored outcomes, pages, and the same asked again.

The parts that need no analysis by name; `catchup_eval.app.verify` puts them together.
"""
