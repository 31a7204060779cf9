"""The nearest point of a box at which a differentiable model decides otherwise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.attacks.projections import length, to_hyperplane
from xaibench.counterfactuals.goal import Goal
from xaibench.rng import SampleRng, content_ids

__all__ = ["Box", "bisected", "nearest_flips"]

_AIMS = 9
_OVERSHOOT = 1.05
_BACK = 0.9
_MIX = 0.1
_HALVINGS = 24


@dataclass(frozen=True)
class Box:
    """Where each of n inputs may go: from ``clean`` to within ``low`` and ``high``, all (n, ...)."""

    clean: Tensor
    low: Tensor
    high: Tensor
    unit: Tensor
    """The unit of distance, broadcastable against the inputs."""

    def take(self, rows: Tensor) -> Box:
        """Those of some samples."""
        return Box(self.clean[rows], self.low[rows], self.high[rows], self.unit)

    def offset(self, x: Tensor) -> Tensor:
        """Flat moves (n, features) from the clean inputs, float64, in units."""
        return ((x.double() - self.clean.double()) / self.unit.double()).flatten(1)

    def place(self, offset: Tensor) -> Tensor:
        """The inputs that flat moves lead to, within the box."""
        moved = self.clean.double() + offset.view(self.clean.shape) * self.unit.double()
        return torch.minimum(torch.maximum(moved.to(self.clean.dtype), self.low), self.high)

    @property
    def limits(self) -> tuple[Tensor, Tensor]:
        """The least and the largest flat moves."""
        return self.offset(self.low), self.offset(self.high)


def nearest_flips(goal: Goal, box: Box, *, norm: str, steps: int, restarts: int, seed: int) -> tuple[Tensor, Tensor]:
    """Inputs (n, ...) that reach the goal near the clean ones, and whether one was found: bool (n,).

    The walk of Croce & Hein, *Minimally distorted adversarial examples with a fast adaptive boundary attack* (ICML
    2020), towards each of the likeliest classes and from random points too: to the hyperplane on which the linearised
    lead is 0, within the box, drawn towards the clean input. It goes on after a first success, and what it found
    nearest is drawn to the boundary by bisection. Exact for linear models; ``norm`` is linf, l2 or l1.
    """
    rows, aims = goal.aims(box.clean, _AIMS)
    best, distance = box.clean.clone(), box.clean.new_full((len(box.clean),), torch.inf, dtype=torch.float64)
    for restart in range(restarts):
        jobs = box.take(rows)
        x = _walk(goal, jobs, rows, aims, norm=norm, steps=steps, start=_start(jobs, restart, seed))
        reached = goal.lead(x, rows) > 0
        x = bisected(goal, jobs, rows, x)
        far = length(jobs.offset(x), norm).squeeze(1).masked_fill(~reached, torch.inf)
        for job in far.argsort(descending=True).tolist():  # the nearest of a sample is written last
            if far[job] < distance[rows[job]]:
                best[rows[job]], distance[rows[job]] = x[job], far[job]
    return best, distance.isfinite()


def bisected(goal: Goal, box: Box, rows: Tensor, x: Tensor) -> Tensor:
    """Points on the lines from the clean inputs to ``x`` (m, ...), which reach the goal, just where they still do."""
    move = box.offset(x)
    low, high = torch.zeros_like(move[:, :1]), torch.ones_like(move[:, :1])
    best = x.clone()
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        trial = box.place(middle * move)
        reached = goal.lead(trial, rows) > 0
        best[reached] = trial[reached]
        share = reached[:, None].to(low.dtype)
        low, high = low + (middle - low) * (1 - share), high + (middle - high) * share
    return best


def _start(box: Box, restart: int, seed: int) -> Tensor:
    """The clean inputs, or points half way to random ones of the box."""
    if not restart:
        return box.clean.clone()
    rng = SampleRng(content_ids(box.clean), seed, f"counterfactual {restart}")
    share = rng.uniform(tuple(box.clean.shape[1:])).to(box.clean.dtype)
    return (box.clean + box.low + share * (box.high - box.low)) / 2


def _walk(goal: Goal, box: Box, rows: Tensor, aims: Tensor, *, norm: str, steps: int, start: Tensor) -> Tensor:
    """The nearest points (j, ...) that reach the goal on the way; the clean inputs where none does."""
    low, high = box.limits
    x, best = start, box.clean.clone()
    nearest = torch.full_like(low[:, :1], torch.inf)
    for _ in range(steps):
        value, gradient, lead = goal.slope(x, rows, aims)
        offset = box.offset(x)
        far = length(offset, norm)
        hit = (lead > 0)[:, None]
        nearer = (hit & (far < nearest)).squeeze(1)
        best[nearer], nearest[nearer] = x[nearer], far[nearer]
        slope = (gradient.double() * box.unit.double()).flatten(1)
        # What is reached is linearised where it is, and the step taken from where it is drawn back to.
        at_clean = value[:, None] - (slope * offset).sum(dim=1, keepdim=True)
        back = 1 - (1 - _BACK) * hit.to(offset.dtype)
        at_drawn, drawn = at_clean + back * (value[:, None] - at_clean), offset * back
        own = to_hyperplane(slope, -at_drawn, low - drawn, high - drawn, norm)
        direct = to_hyperplane(slope, -at_clean, low, high, norm)
        reach, direct_reach = (length(move, norm).clamp_min(1e-12) for move in (own, direct))
        share = (reach / (reach + direct_reach)).clamp_max(_MIX)
        x = box.place((drawn + _OVERSHOOT * own) * (1 - share) + direct * (_OVERSHOOT * share))
    lead = goal.lead(x, rows)
    last = ((lead > 0)[:, None] & (length(box.offset(x), norm) < nearest)).squeeze(1)
    best[last] = x[last]
    return best
