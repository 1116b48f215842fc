"""Benchmarks of the axis finance."""
