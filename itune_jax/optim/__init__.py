"""Floor 2: optimizers, schedules, parameter groups."""
