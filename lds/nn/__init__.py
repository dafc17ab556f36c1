"""Networks on a batch of graphs."""
