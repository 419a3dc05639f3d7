"""One entry for each list of catchup-eval; each module is a minimal complete example."""
