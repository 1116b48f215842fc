"""Runs in a browser while they train: curves, evaluations, answers, and the pages that commands wrote."""
