"""Configurations of other tools as recipes: what each key means here, and which have no equal."""
