"""Whether a text is supported by another: aggregation, retrieval and the formulas of published benchmarks."""
