"""The sample that the page opens with: a confident answer that a small change is likely to break."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from xaibench.pages.shared import cached

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["first_row"]

_LOOKED_AT: Final = 48
"""Rows among which one is chosen: a pass with gradients over them takes a second at most."""
_SHARE: Final = 0.6
"""Of the customary radius, below which the linear estimate of the distance has to be."""


def first_row(model: Classifier, data: Data, said: Tensor) -> int | None:
    """The position of a row; None without one that is right. ``said``: probabilities (n, classes).

    It is the surest of the right ones that the linear estimate puts within the customary radius; the nearest to the
    boundary where there is none.
    """
    from xaibench.evaluate.settle import customary_eps

    few = data.take(range(min(len(data), _LOOKED_AT)))
    told = said[: len(few)]
    right = (told.argmax(dim=1) == few.labels).nonzero().flatten()
    if not len(right):
        return None
    if model.task == "text":
        return int(right[0])
    distance = cached.boundary_distances(model, few, (cached.identity(model), few.digest))[right]
    usual = customary_eps("linf", model.task, tuple(few.inputs.shape[1:]), model.bounds)  # type: ignore[union-attr]
    near = right[distance <= _SHARE * usual]
    return int(near[told[near].amax(dim=1).argmax()]) if len(near) else int(right[distance.argmin()])
