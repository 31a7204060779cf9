"""Explain: why a model says what it says of one sample."""
