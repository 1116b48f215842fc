"""Floor 4: state, step, loop, checkpoints, hooks."""
