"""Claims of a report, and how a stated value is compared with the one that was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Claim", "FalseClaimError", "agree", "same"]

_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
"""How far numbers may lie apart that were computed on two machines."""


class FalseClaimError(Exception):
    """A claim of a report does not hold; the message says which, what is stated, and what was found."""


@dataclass(frozen=True)
class Claim:
    """A group of claims that hold."""

    name: str
    found: str


def same(what: str, stated: object, found: object) -> None:
    """Raise `FalseClaimError` unless both are equal."""
    if stated != found:
        raise FalseClaimError(f"{what}: stated {_short(stated)}, got {_short(found)}")


def agree(where: str, stated: Any, found: Any, *, absolute: float = _ABSOLUTE) -> None:
    """Raise for the first leaf in which two JSON values differ by more than rounding, or by more than ``absolute``."""
    if isinstance(stated, Mapping) and isinstance(found, Mapping):
        same(f"{where} (its fields)", sorted(stated), sorted(found))
        for key, value in stated.items():
            agree(f"{where}.{key}", value, found[key], absolute=absolute)
    elif isinstance(stated, Sequence) and isinstance(found, Sequence) and not isinstance(stated, str):
        same(f"{where} (its length)", len(stated), len(found))
        for position, (one, other) in enumerate(zip(stated, found, strict=True)):
            agree(f"{where}[{position}]", one, other, absolute=absolute)
    elif isinstance(stated, float) and isinstance(found, float):
        if not math.isclose(stated, found, rel_tol=_RELATIVE, abs_tol=absolute):
            same(where, stated, found)
    else:
        same(where, stated, found)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
