"""Conversations into tokens and pixels."""
