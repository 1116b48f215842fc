"""Sweeps: many runs of one recipe that differ in a few values, and what those values did."""
