"""Robustness: a whole evaluation, watched while it runs."""
