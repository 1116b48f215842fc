"""Losses that bring a student to a teacher."""
