"""One entry for each list of catchup-eval; each module is the shortest that does it whole."""
