"""Two or more evaluations item by item: what files say, which items they share, and what the differences are worth."""
