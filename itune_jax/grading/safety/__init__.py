"""Harm and its refusal: rules, rubrics and formulas of safety benchmarks, without a model."""
