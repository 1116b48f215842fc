"""Benchmarks of the axis agents."""
