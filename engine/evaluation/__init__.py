"""How good a method is: clips, metrics, the paper's protocols and baselines."""
