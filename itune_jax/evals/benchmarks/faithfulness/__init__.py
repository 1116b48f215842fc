"""Benchmarks of faithfulness: truth, and support by a source."""
