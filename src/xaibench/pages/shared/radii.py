"""Sliders of the radius: where each starts, how fine it is, and where it ends."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xaibench.types import Classifier

__all__ = ["COUNTED", "radius_scale", "written"]

COUNTED = ("l0", "words")
"""Norms whose radii are whole numbers."""
_STEPS = 20
"""Steps of the slider up to the customary radius, which is a quarter of its range."""
_TIMES = 4
_MOST_WORDS, _FEWEST = 12, 16
"""The ends of the sliders that count words and features, at least for the latter."""


def radius_scale(model: Classifier, norm: str, shape: tuple[int, ...]) -> tuple[float, float, float]:
    """The customary radius, the step and the end of the slider for inputs of a ``shape``, without the batch.

    All are floats, or all whole numbers.
    """
    from xaibench.evaluate.settle import customary_eps

    if norm == "spatial":
        return 0.5, 0.05, 1.0
    usual = customary_eps(norm, model.task, shape, model.bounds)
    if norm == "words":
        return int(usual), 1, min(_MOST_WORDS, shape[-1])
    if norm == "l0":
        return int(usual), 1, min(max(_TIMES * int(usual), _FEWEST), math.prod(shape))
    rounded = float(written(usual))
    return rounded, float(written(rounded / _STEPS)), float(written(_TIMES * rounded))


def written(eps: float) -> str:
    """A radius as the address has it."""
    return f"{eps:.9g}"
