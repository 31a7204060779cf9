"""The nonlinear operations of a network, each with its exact interval and two linear functions that enclose it.

Zhang et al., *Efficient neural network robustness certification with general activation functions* (NeurIPS 2018).
A relaxation holds for the inputs between given bounds; it carries a linear lower bound on the output, of any
coefficients, back to one on the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["Interval", "LeakyReLU", "MaxPool", "Nonlinear", "Owner", "Relaxation", "SShaped", "of_owner"]

Owner = Tensor | int
"""For each of m rows the sample that it belongs to, (m,), int64; a number where all belong to one."""


class Interval(NamedTuple):
    """Elementwise bounds (n, ...)."""

    low: Tensor
    high: Tensor


class Relaxation(Protocol):
    """Two linear functions around an operation, for each of n samples."""

    def back(self, rows: Tensor, owner: Owner) -> tuple[Tensor, Tensor]:
        """Coefficients (m, *input) and constants (m,) of lower bounds on ``rows`` (m, *output) times the output."""
        ...


@runtime_checkable
class Nonlinear(Protocol):
    """An operation that acts on each sample by itself, monotone in every input."""

    def __call__(self, x: Tensor) -> Tensor:
        """The operation itself."""
        ...

    def relax(self, bounds: Interval) -> Relaxation:
        """Linear functions that enclose the operation wherever its input lies within ``bounds``."""
        ...

    def undecided(self, bounds: Interval) -> Tensor:
        """Where tighter bounds on the input would make a tighter relaxation, bool in the input's shape."""
        ...


def of_owner(values: Tensor, owner: Owner) -> Tensor:
    """Each row's values, (m, ...) or (1, ...), from those of all samples (n, ...)."""
    return values[owner : owner + 1] if isinstance(owner, int) else values[owner]


@dataclass(frozen=True, kw_only=True)
class _Lines:
    """Elementwise: lower * x + lower_offset <= f(x) <= upper * x + upper_offset; no offset is 0."""

    lower: Tensor
    lower_offset: Tensor | None
    upper: Tensor
    upper_offset: Tensor

    def back(self, rows: Tensor, owner: Owner) -> tuple[Tensor, Tensor]:
        """See `Relaxation`."""
        positive, negative = rows.clamp_min(0), rows.clamp_max(0)
        constant = (negative * of_owner(self.upper_offset, owner)).flatten(1).sum(dim=1)
        if self.lower_offset is not None:
            constant += (positive * of_owner(self.lower_offset, owner)).flatten(1).sum(dim=1)
        return positive * of_owner(self.lower, owner) + negative * of_owner(self.upper, owner), constant


@dataclass(frozen=True, kw_only=True)
class LeakyReLU:
    """max(x, slope * x) with 0 <= slope <= 1; ReLU by default."""

    slope: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """See `Nonlinear`."""
        return torch.maximum(x, self.slope * x)

    def relax(self, bounds: Interval) -> Relaxation:
        """The chord from above; from below whichever of both branches leaves the smaller area."""
        low, high = bounds.low.clamp_max(0), bounds.high.clamp_min(0)
        # A branch that is never taken has no width; 1 in its place gives the slope of the other one.
        steep = torch.where(low == 0, 1.0, high / (high - low).clamp_min(torch.finfo(low.dtype).tiny))
        upper = self.slope + (1 - self.slope) * steep
        lower = torch.where(high > -low, 1.0, self.slope)
        lower = torch.where(low == 0, 1.0, torch.where(high == 0, self.slope, lower))
        return _Lines(
            lower=lower,
            lower_offset=None,
            upper=upper,
            upper_offset=(self.slope - upper) * low,
        )

    def undecided(self, bounds: Interval) -> Tensor:
        """Where both branches are possible."""
        return (bounds.low < 0) & (bounds.high > 0)


@dataclass(frozen=True, kw_only=True)
class SShaped:
    """An increasing function that is convex below 0 and concave above it, with its derivative."""

    function: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """See `Nonlinear`."""
        return self.function(x)

    def relax(self, bounds: Interval) -> Relaxation:
        """Chords on the side that bulges away from them, else lines of the smaller slope of both ends.

        The derivative has one peak, so between two points it is nowhere below the smaller of its values there.
        """
        low, high = bounds
        at_low, at_high = self.function(low), self.function(high)
        gentle = torch.minimum(self.derivative(low), self.derivative(high))
        width = high - low
        # Over a tiny width the quotient is all rounding.
        chord = torch.where(width > 1e-6, (at_high - at_low) / width.clamp_min(1e-6), gentle)
        lower, upper = torch.where(low >= 0, chord, gentle), torch.where(high <= 0, chord, gentle)
        return _Lines(
            lower=lower,
            lower_offset=at_low - lower * low,
            upper=upper,
            upper_offset=at_high - upper * high,
        )

    def undecided(self, bounds: Interval) -> Tensor:
        """Everywhere."""
        return bounds.low < bounds.high


@dataclass(frozen=True, kw_only=True)
class MaxPool:
    """The largest of some positions, for each channel.

    ``members`` (*output positions, window) are flat indices into the positions of a channel; -1 is padding.
    """

    members: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """See `Nonlinear`."""
        return self._windows(x).amax(dim=-1)

    def relax(self, bounds: Interval) -> Relaxation:
        """From below the member with the best bound; from above a line in the one that may rise highest.

        With x_i in [l, u] that member and m >= l no less than all others, max(x_i, m) lies below its chord.
        """
        low, high = self._windows(bounds.low), self._windows(bounds.high)
        best = low.argmax(dim=-1, keepdim=True)
        top = high.topk(min(2, high.shape[-1]), dim=-1)
        first = top.indices[..., :1]
        start, end = low.gather(-1, first), top.values[..., :1]
        others = torch.maximum(top.values[..., -1:], start) if high.shape[-1] > 1 else start
        slope = (end - others) / (end - start).clamp_min(torch.finfo(low.dtype).tiny)
        slope = slope.clamp_max(1.0)
        return _Selected(
            input_shape=tuple(bounds.low.shape[1:]),
            lower=self._position(best),
            upper=self._position(first),
            upper_slope=slope[..., 0],
            upper_offset=(others - slope * start)[..., 0],
        )

    def undecided(self, bounds: Interval) -> Tensor:
        """Everywhere."""
        return bounds.low < bounds.high

    def _windows(self, x: Tensor) -> Tensor:
        """(n, channels, *output positions, window), padding as minus infinity."""
        flat = x.flatten(2)
        return torch.cat([flat, torch.full_like(flat[..., :1], -torch.inf)], dim=2)[..., self.members]

    def _position(self, choice: Tensor) -> Tensor:
        """Flat input positions from choices within windows."""
        return self.members.expand(*choice.shape[:-1], -1).gather(-1, choice)[..., 0]


@dataclass(frozen=True, kw_only=True)
class _Selected:
    """x[lower] <= f(x) <= upper_slope * x[upper] + upper_offset."""

    input_shape: tuple[int, ...]
    lower: Tensor
    upper: Tensor
    upper_slope: Tensor
    upper_offset: Tensor

    def back(self, rows: Tensor, owner: Owner) -> tuple[Tensor, Tensor]:
        """See `Relaxation`."""
        positive, negative = rows.clamp_min(0), rows.clamp_max(0)
        constant = (negative * of_owner(self.upper_offset, owner)).flatten(1).sum(dim=1)
        result = rows.new_zeros(len(rows), *self.input_shape).flatten(2)
        for position, weights in (
            (self.lower, positive),
            (self.upper, negative * of_owner(self.upper_slope, owner)),
        ):
            index = of_owner(position, owner).expand_as(rows).flatten(2)
            result.scatter_add_(2, index, weights.flatten(2))
        return result.view(len(rows), *self.input_shape), constant
