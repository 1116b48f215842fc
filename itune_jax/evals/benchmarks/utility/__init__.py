"""Benchmarks of utility: instructions followed, knowledge, reasoning, code."""
