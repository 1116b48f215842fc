"""Benchmarks of the axis multimodal."""
