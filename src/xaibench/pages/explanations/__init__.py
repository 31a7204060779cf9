"""Explanations: which methods to believe, and the data at a glance."""
