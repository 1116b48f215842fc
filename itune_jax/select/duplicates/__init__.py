"""Rows that say the same: exact, near, contained, and not new enough; which one of a cluster stays."""
