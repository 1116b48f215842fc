"""Rows of files as conversations."""
