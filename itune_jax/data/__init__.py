"""Floor 2: examples, chat rendering, caches, packing, the feed."""
