"""Benchmarks of safety."""
