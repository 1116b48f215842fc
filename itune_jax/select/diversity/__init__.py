"""Selections whose rows differ from each other."""
