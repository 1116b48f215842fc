"""Benchmarks of the axis medicine."""
