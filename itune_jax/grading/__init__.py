"""Floor 2: how answers are judged, and statistics: pure functions."""
