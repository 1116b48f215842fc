"""Benchmarks of the axis decisions."""
