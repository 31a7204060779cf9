"""Threat models by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xaibench.errors import unknown_name
from xaibench.threats.balls import L0, L1, L2, Linf
from xaibench.threats.base import Threat
from xaibench.threats.constrained import Constrained
from xaibench.threats.spatial import Spatial
from xaibench.threats.words import Words

__all__ = ["threat"]

_BALLS: dict[str, type] = {cls.norm: cls for cls in (Linf, L2, L1, L0)}


def threat(norm: str, eps: float, scale: Sequence[float] | None = None, **rules: Any) -> Threat:
    """The threat model of a norm by name (linf, l2, l1, l0, words, spatial), with radius ``eps``.

    For l0 that is the number of features, for words that of words, for spatial a share of the largest motion. ``rules``
    are those of `Words` or `Spatial`, else of `Constrained`.

    >>> threat("linf", 0.1)
    Linf(eps=0.1, scale=None)
    >>> from xaibench.threats import as_dict
    >>> threat(**as_dict(L0(5))) == L0(5)
    True
    >>> threat("linf", 0.1, immutable=[3]).immutable
    (3,)
    """
    name = norm.lower()
    if name == Words.norm:
        # Words says itself that it takes a whole number.
        return Words(eps, **rules)  # type: ignore[arg-type]
    if name == Spatial.norm:
        return Spatial(eps, **rules)
    if name not in _BALLS:
        raise unknown_name("norm", norm, (*_BALLS, Words.norm, Spatial.norm))
    ball: Threat = _BALLS[name](eps, scale=None if scale is None else tuple(map(float, scale)))
    return Constrained(ball, **rules) if rules else ball
