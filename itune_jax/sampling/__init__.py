"""Floor 3: decoding and scoring on the training mesh."""
