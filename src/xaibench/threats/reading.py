"""Threat models for reading."""

from xaibench.reading import format_radius, format_threat, norm_label

__all__ = ["format_radius", "format_threat", "norm_label"]
