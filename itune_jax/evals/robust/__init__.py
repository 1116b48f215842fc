"""How far a figure hangs on the way of asking: variations of a benchmark, and what they do to its figures."""
