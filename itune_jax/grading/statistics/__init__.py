"""Statistics of evaluations: intervals, tests between runs on the same items, and what a number of items can show."""
