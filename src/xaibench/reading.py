"""Threat models for reading: light, so that what is known about a model can be shown without a framework."""

from __future__ import annotations

__all__ = ["format_radius", "format_threat", "norm_label"]

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0", "words": "word"}


def format_radius(radius: float) -> str:
    """A radius for reading; 255ths where it is one.

    >>> format_radius(8 / 255), format_radius(0.1), format_radius(0.0)
    ('8/255', '0.1', '0')
    """
    levels = radius * 255
    if 1 <= round(levels) <= 32 and abs(levels - round(levels)) < 1e-6:
        return f"{round(levels)}/255"
    return f"{radius:.4g}"


def norm_label(norm: str) -> str:
    """A norm for reading: ``L∞`` for ``linf``."""
    return _NORMS.get(norm, norm)


def format_threat(norm: str, eps: float) -> str:
    """Norm and radius for reading.

    >>> format_threat("linf", 8 / 255), format_threat("words", 4)
    ('L∞ 8/255', '4 words')
    """
    return f"{format_radius(eps)} words" if norm == "words" else f"{norm_label(norm)} {format_radius(eps)}"
