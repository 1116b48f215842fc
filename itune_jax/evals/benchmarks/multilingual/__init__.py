"""Benchmarks of the axis multilingual."""
