"""Floor 4: preparation of rows, their scores, and the choice among them."""
