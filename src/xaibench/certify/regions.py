"""The inputs that an attacker may choose from, and the least value that a linear function takes on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from xaibench.certify.relaxations import Interval, Owner, of_owner
from xaibench.errors import UnsupportedError
from xaibench.threats import Threat
from xaibench.threats.geometry import box, units
from xaibench.types import Bounds

__all__ = ["Region"]

_TOLERANCE = 1e-6
"""By how much attacks may overstep the radius: see `xaibench.threats.contains`."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """The part of the box that lies in the balls around n clean inputs (n, ...), float64."""

    clean: Tensor
    reach: Interval
    """The smallest box around the region."""
    unit: Tensor
    eps: float
    norm: str

    @classmethod
    def of(cls, clean: Tensor, threat: Threat, bounds: Bounds) -> Self:
        """What ``threat`` leaves an attacker around ``clean``; l0 is not convex and raises `UnsupportedError`."""
        if threat.norm not in _BALLS:
            raise UnsupportedError(
                f"bounds need a convex ball (linf, l2 or l1), got {threat.norm}: few features, but each by any amount"
            )
        eps = threat.eps + _TOLERANCE
        unit = units(clean.double(), threat.scale)
        low, high = (limit.double() for limit in box(clean, bounds))
        clean = clean.double()
        reach = Interval(torch.maximum(low, clean - eps * unit), torch.minimum(high, clean + eps * unit))
        return cls(clean=clean, reach=reach, unit=unit, eps=eps, norm=threat.norm)

    def least(self, rows: Tensor, owner: Owner) -> Tensor:
        """Lower bounds (m,) on ``rows`` (m, ...) times any input in reach of the sample that each belongs to.

        The better of what the ball and what the box allow. In the ball, only those features count that the box lets
        move in the direction that lowers the value. Exact for linf.
        """
        start, low, high = (of_owner(value, owner) for value in (self.clean, *self.reach))
        positive, negative = rows.clamp_min(0), rows.clamp_max(0)
        in_box = (positive * low + negative * high).flatten(1).sum(dim=1)
        if self.norm == "linf":
            return in_box
        pull = positive * (low < start) - negative * (high > start)
        steepest = (pull * self.unit).flatten(1).norm(p=_BALLS[self.norm], dim=1)
        return torch.maximum(in_box, (rows * start).flatten(1).sum(dim=1) - self.eps * steepest)


_BALLS = {"linf": 1.0, "l2": 2.0, "l1": float("inf")}
"""The dual norm of each ball, which says how far a linear function can fall within it."""
