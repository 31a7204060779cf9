"""Where an attack on explanations looks next: along a gradient, in windows of the best point, or anywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xaibench.attacks.windows import grid, window_share, window_sides
from xaibench.manipulation.objectives import Objective
from xaibench.manipulation.smooth import SmoothMap
from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.types import Bounds

__all__ = ["Case", "Climb", "Noise", "Proposals", "Windows"]

_ROWS = 16
"""Gradients are taken of so many samples at once, filled up where there are fewer: batches of one size give the same
signs, and a sample takes the same way in any batch."""
_JUDGED = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """Samples under attack, and what is known of them."""

    x: Tensor
    """(m, ...) clean inputs."""
    target: Tensor
    """(m,) their predicted classes."""
    logits: Tensor
    before: Tensor
    """(m, ...) their attributions."""
    baseline: Tensor
    """(m, ...) the method's reference inputs, zero where it has none."""
    threat: Threat
    bounds: Bounds
    goal: Objective
    rng: SampleRng

    def sample(self, step: int) -> Tensor:
        """Points of the threat at random."""
        return self.threat.sample(self.rng, self.x, self.bounds, step)

    def step(self, point: Tensor, direction: Tensor, size: float) -> Tensor:
        """``point`` after a step of this size, relative to the radius, within threat and box."""
        there = self.threat.ascend(point, direction, size * self.threat.eps, self.bounds)
        return self.threat.project(there, self.x, self.bounds)


class Proposals(Protocol):
    """The next points to judge."""

    @property
    def name(self) -> str: ...

    @property
    def passes(self) -> tuple[int, int]:
        """Forward and backward passes that a proposal takes for each sample."""
        ...

    @property
    def period(self) -> int:
        """Every how many points one is judged."""
        ...

    def next(self, case: Case, point: Tensor, best: Tensor, step: int) -> Tensor:
        """A point (m, ...) after ``point``, the last one, and ``best``, the best so far; steps of restarts go on."""
        ...


@dataclass(frozen=True)
class Climb:
    """Steps along the gradient of the objective, ever shorter; where the prediction was lost, back towards it."""

    lead: SmoothMap
    steps: int
    hold_logits: float = 0.0
    name: str = "gradient"

    @property
    def passes(self) -> tuple[int, int]:
        """A pass for the margin, and for each gradient a pass forwards, one backwards, and two for its own gradient."""
        return 1 + self.lead.passes, 1 + 3 * self.lead.passes

    @property
    def period(self) -> int:
        return max(1, self.steps // _JUDGED)

    def next(self, case: Case, point: Tensor, best: Tensor, step: int) -> Tensor:
        """See `Proposals`."""
        size = max(0.05, 0.5 * (1 - step % self.steps / self.steps))
        parts = torch.arange(len(point), device=point.device).split(_ROWS)
        return case.step(point, torch.cat([self._gradient(case, point, rows) for rows in parts]), size)

    def _gradient(self, case: Case, point: Tensor, rows: Tensor) -> Tensor:
        full = torch.cat([rows, rows[:1].expand(_ROWS - len(rows))])
        with torch.enable_grad():
            start = point[full].detach().requires_grad_()
            values, margin, logits = self.lead(start, case.baseline[full], case.target[full])
            goal = case.goal.climb(values, case.before[full])
            if self.hold_logits:
                clean = case.logits[full]
                change = (logits - clean).square().sum(dim=1) / clean.square().sum(dim=1).clamp_min(1e-12)
                goal = goal - self.hold_logits * change
            kept = (margin.detach() > 0).to(goal.dtype)
            total = (kept * goal + (1 - kept) * margin).sum()
            (gradient,) = torch.autograd.grad(total, start, allow_unused=True, materialize_grads=True)
        return gradient[: len(rows)].nan_to_num(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Windows:
    """The best point with one window pushed to the edge of the threat; windows shrink as in the square attack.

    Andriushchenko et al., *Square attack: a query-efficient black-box adversarial attack via random search* (ECCV
    2020).
    """

    steps: int
    name: str = "queries"
    passes: tuple[int, int] = (0, 0)
    period: int = 1

    def next(self, case: Case, point: Tensor, best: Tensor, step: int) -> Tensor:
        """See `Proposals`."""
        shape = tuple(case.x.shape[1:])
        channels, height, width = grid(shape)
        sides = window_sides(window_share(step % self.steps, self.steps, 0.8), height, width)
        bits = case.rng.bits((channels + 2,), step + 1)
        inside = torch.ones(len(best), 1, 1, 1, dtype=case.x.dtype, device=case.x.device)
        for axis, (size, side) in enumerate(zip((height, width), sides, strict=True)):
            first = (bits[:, axis] >> 33) % (size - side + 1)
            place = torch.arange(size, device=first.device) - first[:, None]
            within = ((place >= 0) & (place < side)).to(inside.dtype)
            inside = inside * (within[:, None, :, None] if axis == 0 else within[:, None, None, :])
        sign = bits[:, 2:].sign().to(inside.dtype)
        return case.step(best, (sign[:, :, None, None] * inside).view(len(best), *shape), 2.0)


@dataclass(frozen=True)
class Noise:
    """Points of the threat at random."""

    name: str = "noise"
    passes: tuple[int, int] = (0, 0)
    period: int = 1

    def next(self, case: Case, point: Tensor, best: Tensor, step: int) -> Tensor:
        """See `Proposals`."""
        return case.sample(step + 1)
