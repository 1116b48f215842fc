"""What a compiled program costs on a chip."""
