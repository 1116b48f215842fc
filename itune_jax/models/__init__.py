"""Floor 2: decoders, the zoo, and weights in and out."""
