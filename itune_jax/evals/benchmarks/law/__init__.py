"""Benchmarks of the axis law."""
