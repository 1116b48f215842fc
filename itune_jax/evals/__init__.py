"""Floor 4: evaluators, checkers, statistics."""
