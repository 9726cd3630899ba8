"""The propagation operator of the paper, equation (4)."""
