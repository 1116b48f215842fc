"""Benchmarks of the axis telecom."""
