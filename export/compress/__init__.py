"""Steps that make a network smaller: channel pruning, magnitude pruning, weight sharing. Each works alone."""
