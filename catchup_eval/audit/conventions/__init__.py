"""The same checkpoints under every convention in circulation, from outcomes that are stored."""
