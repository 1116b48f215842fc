"""The built-in starter set: generated and hand-written instructions (CC0)."""
