"""Floor 5: the commands; the only place of gin, flags and the environment."""
