"""Several adapters: merged into one, or side by side."""
