"""Harden: train a copy that is harder to fool."""
