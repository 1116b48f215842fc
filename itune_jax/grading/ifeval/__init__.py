"""IFEval: instructions that a program can check (Zhou et al. 2023, arXiv 2311.07911), judged as officially."""
