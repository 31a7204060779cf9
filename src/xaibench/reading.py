"""Numbers and threat models for reading: light, so that what is known can be shown without a framework."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["counted", "format_radius", "format_threat", "listed", "norm_label", "percent", "radius_axis"]

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1", "l0": "L0", "words": "word"}


def percent(share: float) -> str:
    """A share for reading; only all is 100 %, and only none is 0.

    >>> percent(0.98765), percent(1.0), percent(0.9999), percent(0.0001), percent(0.0)
    ('98.8 %', '100 %', 'over 99.9 %', 'under 0.1 %', '0 %')
    """
    if 0.9995 <= share < 1:
        return "over 99.9 %"
    if 0 < share < 0.0005:
        return "under 0.1 %"
    return f"{share * 100:.1f} %".replace(".0 %", " %")


def counted(n: int, noun: str) -> str:
    """A number of things that form their plural by an s.

    >>> counted(1, "sample"), counted(2000, "sample")
    ('1 sample', '2000 samples')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(names: Sequence[str], most: int | None = None) -> str:
    """Names in a sentence, no more than ``most`` of them.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c"], most=1)
    ('a', 'a, b and c', 'a and 2 more')
    """
    rest = 0 if most is None else len(names) - most
    parts = [*names[:most], f"{rest} more"] if rest > 0 else list(names)
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1]))) if parts else ""


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


def radius_axis(norm: str, unit: str) -> str:
    """What an axis of radii shows, of which each counts ``unit``.

    >>> radius_axis("linf", "in input units"), radius_axis("words", "changed words")
    ('L∞ radius, in input units', 'changed words')
    """
    return unit if norm == "words" else f"{norm_label(norm)} radius, {unit}"


def format_threat(norm: str, eps: float) -> str:
    """Norm and radius for reading.

    >>> format_threat("linf", 8 / 255), format_threat("words", 1), format_threat("words", 4)
    ('L∞ 8/255', '1 word', '4 words')
    """
    if norm == "words":
        return f"{format_radius(eps)} {'word' if eps == 1 else 'words'}"
    return f"{norm_label(norm)} {format_radius(eps)}"
