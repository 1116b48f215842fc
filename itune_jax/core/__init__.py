"""Floor 0: axes, contracts, the batch, trees, keys, numerics, logging."""
