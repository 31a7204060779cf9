"""Explainers that integrate gradients along a path from a baseline to the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, BaselineName, baseline_sets
from xaibench.explainers.budget import points_at_once
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["IntegratedGradients", "Path", "PathIntegral", "Quadrature", "check_steps", "integrate"]

Quadrature = Literal["gauss_legendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid"]
"""How the integral over an interval of the path is approximated."""

_RULES: Mapping[Quadrature, tuple[tuple[float, ...], tuple[float, ...]]] = MappingProxyType(
    {
        "riemann_left": ((0.0,), (1.0,)),
        "riemann_middle": ((0.5,), (1.0,)),
        "riemann_right": ((1.0,), (1.0,)),
        "riemann_trapezoid": ((0.0, 1.0), (0.5, 0.5)),
    }
)
_GAUSS_NODES = 4
_CANCELLED = 5
"""Gaps of intervals may cancel each other by luck: without their signs they may be this many times the tolerance."""
_LEAST_CHANGE = 1e-3


@explainers.register("integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients:
    """Gradients of the logit averaged along the straight line from the baseline, times the distance gone.

    Sundararajan et al., *Axiomatic attribution for deep networks* (ICML 2017). Attributions should add up to the
    change of the logit (completeness). Each line is cut into intervals, over which gradients are taken at the nodes of
    the ``quadrature``, ``steps`` of them at first; those intervals that miss their own change of the logit are halved
    until the whole is within ``tolerance``, relative to its change, or ``max_steps`` gradients are spent. The gap that
    is left is reported. For text the line runs between embeddings.

    ``baseline`` may be several: names, or a tensor with one more axis in front (k, ...). Attributions are then the
    mean over the baselines.
    """

    name: ClassVar[str]

    baseline: Baseline | tuple[BaselineName, ...] = "auto"
    steps: int = 32
    max_steps: int = 512
    tolerance: float = 0.01
    quadrature: Quadrature = "gauss_legendre"

    def __post_init__(self) -> None:
        check_steps(self.steps, self.max_steps, self.tolerance)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        baselines = baseline_sets(self.baseline, model, logit.x)
        count, n = baselines.shape[:2]
        line = _Line(logit.embed(baselines.flatten(0, 1)), logit.embed(logit.x))
        rows = torch.arange(n, device=logit.x.device).repeat(count)
        found = integrate(
            logit,
            line,
            rows,
            quadrature=self.quadrature,
            steps=self.steps,
            max_steps=self.max_steps,
            tolerance=self.tolerance,
        )
        return logit.attribution(
            found.values.unflatten(0, (count, n)).mean(dim=0),
            seed=seed,
            baseline=baselines[0] if count == 1 else None,
            change=found.change.view(count, n).mean(dim=0),
            tolerance=self.tolerance,
            notes=(f"mean over {count} baselines",) if count > 1 else (),
        )


def check_steps(steps: int, max_steps: int, tolerance: float) -> None:
    """Refuse settings of `integrate` that mean nothing."""
    if not 1 <= steps <= max_steps:
        raise InputError(f"expected 1 <= `steps` <= `max_steps`, got {steps} and {max_steps}")
    if not tolerance >= 0:
        raise InputError(f"expected `tolerance` >= 0, got {tolerance}")


class Path(Protocol):
    """Curves from a baseline, at 0, to an input, at 1."""

    def points(self, which: Tensor, at: Tensor) -> Tensor:
        """Points (m, ...) of the curves ``which`` (m,) at the places ``at`` (m,), float64 in [0, 1]."""
        ...

    def velocity(self, which: Tensor, at: Tensor) -> Tensor:
        """Derivatives (m, ...) of these points by the place."""
        ...


class _Line:
    """Straight lines from ``start`` (p, ...) to ``end`` (n, ...), which repeats; p is a multiple of n."""

    def __init__(self, start: Tensor, end: Tensor) -> None:
        self._start, self._end = start, end

    def points(self, which: Tensor, at: Tensor) -> Tensor:
        """See `Path`."""
        start, end = self._start[which], self._end[which % len(self._end)]
        return torch.lerp(start, end, at.view(-1, *[1] * (end.ndim - 1)).to(end.dtype))

    def velocity(self, which: Tensor, at: Tensor) -> Tensor:
        """See `Path`."""
        return self._end[which % len(self._end)] - self._start[which]


@dataclass(frozen=True)
class PathIntegral:
    """Integrals of the gradient along p paths."""

    values: Tensor
    """(p, ...), float64: of gradient times velocity."""
    change: Tensor
    """(p,), float64: of the logit from the start to the end of the path."""


@dataclass(frozen=True)
class _Intervals:
    """m pieces of paths."""

    path: Tensor
    """(m,): which path."""
    start: Tensor
    width: Tensor
    """(m,), float64, as a share of the path."""
    low: Tensor
    high: Tensor
    """(m,), float64: the logit at the start and at the end."""
    parts: Tensor
    """(m, ...): the integral over the piece."""

    @property
    def gap(self) -> Tensor:
        """(m,): how far the integral misses the change."""
        return self.parts.double().flatten(1).sum(dim=1) - (self.high - self.low)

    def __getitem__(self, keep: Tensor) -> _Intervals:
        return _Intervals(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))

    def __add__(self, other: _Intervals) -> _Intervals:
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return _Intervals(*map(torch.cat, pairs))


def integrate(
    logit: TargetLogit,
    path: Path,
    rows: Tensor,
    *,
    quadrature: Quadrature,
    steps: int,
    max_steps: int,
    tolerance: float,
) -> PathIntegral:
    """Integrate gradients of the logits of samples ``rows`` (p,) along p paths, where they are hardest to integrate.

    The change of the logit over an interval says what its integral should add up to, so the gap shows which intervals
    to halve. A path is done when its gaps add up to at most ``tolerance`` times its change, and to at most five times
    that without their signs, or when it has spent ``max_steps`` gradients.
    """
    integrator = _Integrator(logit, path, rows, quadrature, steps)
    # As many paths at once as fill a few passes, for every interval keeps a part in the shape of the input.
    size = max(1, 4 * points_at_once(logit.model, logit.x, backward=True) // steps)
    done = [
        integrator.integrate(which, max_steps, tolerance)
        for which in torch.arange(len(rows), device=rows.device).split(size)
    ]
    return PathIntegral(torch.cat([each.values for each in done]), torch.cat([each.change for each in done]))


class _Integrator:
    def __init__(self, logit: TargetLogit, path: Path, rows: Tensor, quadrature: Quadrature, steps: int) -> None:
        self._logit, self._path, self._rows = logit, path, rows
        nodes, weights = _rule(quadrature, steps)
        self._nodes = torch.tensor(nodes, dtype=torch.float64, device=rows.device)
        self._weights = torch.tensor(weights, dtype=torch.float64, device=rows.device)
        self._first = -(-steps // len(nodes))

    def integrate(self, which: Tensor, max_steps: int, tolerance: float) -> PathIntegral:
        """Integrals along the paths ``which`` (g,)."""
        count, each = len(which), self._first
        grid = torch.linspace(0, 1, each + 1, dtype=torch.float64, device=which.device)
        levels = self._levels(which.repeat_interleave(each + 1), grid.repeat(count)).view(count, each + 1)
        change = levels[:, -1] - levels[:, 0]
        local = torch.arange(count, device=which.device)
        pieces = self._pieces(
            which,
            path=local.repeat_interleave(each),
            start=grid[:-1].repeat(count),
            width=torch.full_like(levels[:, 1:], 1 / each).flatten(),
            low=levels[:, :-1].flatten(),
            high=levels[:, 1:].flatten(),
        )
        room = torch.full((count,), max_steps // len(self._nodes) - each, device=which.device)
        bound = tolerance * change.abs().clamp_min(_LEAST_CHANGE)
        while len(worst := _worst(pieces, bound, room // 2)):
            room -= 2 * torch.bincount(pieces.path[worst], minlength=count)
            keep = torch.ones(len(pieces.path), dtype=torch.bool, device=which.device)
            keep[worst] = False
            pieces = pieces[keep] + self._halves(which, pieces[worst])
        values = torch.zeros(count, *pieces.parts.shape[1:], dtype=torch.float64, device=which.device)
        return PathIntegral(values.index_add_(0, pieces.path, pieces.parts.double()), change)

    def _halves(self, which: Tensor, pieces: _Intervals) -> _Intervals:
        width = pieces.width / 2
        middle = pieces.start + width
        level = self._levels(which[pieces.path], middle)
        return self._pieces(
            which,
            path=pieces.path.repeat(2),
            start=torch.cat([pieces.start, middle]),
            width=width.repeat(2),
            low=torch.cat([pieces.low, level]),
            high=torch.cat([level, pieces.high]),
        )

    def _pieces(
        self, which: Tensor, *, path: Tensor, start: Tensor, width: Tensor, low: Tensor, high: Tensor
    ) -> _Intervals:
        """Intervals with their integrals; points of all of them share the batches."""
        nodes = len(self._nodes)
        parts: Tensor | None = None
        for part in self._logit.split(len(path) * nodes):
            piece, node = part // nodes, part % nodes
            curve, at = which[path[piece]], start[piece] + width[piece] * self._nodes[node]
            flow = self._logit.gradient(self._rows[curve], self._path.points(curve, at))
            flow = flow * self._path.velocity(curve, at)
            weight = (self._weights[node] * width[piece]).to(flow.dtype)
            if parts is None:
                parts = flow.new_zeros(len(path), *flow.shape[1:])
            parts.index_add_(0, piece, flow * weight.view(-1, *[1] * (flow.ndim - 1)))
        assert parts is not None
        return _Intervals(path, start, width, low, high, parts)

    def _levels(self, curve: Tensor, at: Tensor) -> Tensor:
        """Logits (m,), float64, at places of paths."""
        parts = self._logit.split(len(curve), backward=False)
        return torch.cat(
            [self._logit.value(self._path.points(curve[part], at[part]), self._rows[curve[part]]) for part in parts]
        )


def _worst(pieces: _Intervals, bound: Tensor, room: Tensor) -> Tensor:
    """Indices of the intervals to halve: of paths beyond their bound (g,), at most ``room`` (g,) each, worst first."""
    gap, path = pieces.gap, pieces.path
    zero = torch.zeros_like(bound)
    net = zero.index_add(0, path, gap).abs()
    gross = zero.index_add(0, path, gap.abs())
    open_ = (net > bound) | (gross > _CANCELLED * bound)
    share = bound / (2 * torch.bincount(path, minlength=len(bound)))
    by_gap = gap.abs().argsort(descending=True, stable=True)
    order = by_gap[path[by_gap].argsort(stable=True)]
    first = torch.searchsorted(path[order].contiguous(), path[order].contiguous())
    rank = torch.arange(len(order), device=order.device) - first
    owner = path[order]
    return order[open_[owner] & (gap.abs()[order] > share[owner]) & (rank < room[owner])]


def _rule(quadrature: Quadrature, steps: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Nodes in [0, 1] of one interval and weights that add up to 1; with few steps all are in one interval."""
    if quadrature == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(min(steps, _GAUSS_NODES))
        return tuple((nodes + 1) / 2), tuple(weights / 2)
    return _RULES[quadrature]
