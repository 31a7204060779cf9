"""What Square changes in a window, by the norm of the threat."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.attacks.engine import Problem, Rows, State
from xaibench.attacks.projections import length
from xaibench.attacks.windows import Schedule, Windows, bump
from xaibench.rng import SampleRng
from xaibench.threats.base import Ruled
from xaibench.threats.geometry import box, chosen, units

__all__ = ["Bumps", "Ends", "Proposals"]


class Proposals(Protocol):
    """Where random search starts, and what it tries next."""

    windows: ClassVar[int]
    """How many a proposal needs."""

    def begin(self, rows: Rows, rng: SampleRng) -> State:
        """The first points, under ``x``, and what else is to be remembered."""
        ...

    def next(self, rows: Rows, state: State, windows: list[Windows], bits: Tensor) -> Tensor:
        """New points (r, ...) near the best ones, by random ``bits`` (r, channels + 1)."""
        ...


@dataclass(frozen=True)
class Ends:
    """For linf: the window goes to the lower or the upper end of ball and box, channel by channel."""

    problem: Problem
    schedule: Schedule
    windows: ClassVar[int] = 1

    def begin(self, rows: Rows, rng: SampleRng) -> State:
        """Vertical stripes; in a table each feature by itself."""
        threat, bounds = self.problem.threat, self.problem.bounds
        channels, _, width = self.schedule.grid
        low, high = (
            threat.project(threat.ascend(rows.clean, way, 2 * threat.eps, bounds), rows.clean, bounds)
            for way in (-torch.ones_like(rows.clean), torch.ones_like(rows.clean))
        )
        low, high = (end.view(len(low), channels, -1, width) for end in (low, high))
        up = (rng.bits((channels, 1, width), rows.restarts) >> 32) & 1
        return {
            "x": chosen(up.expand(low.shape), high, low).view(rows.clean.shape),
            "ends": torch.cat([low, high], dim=1).flatten(1),
        }

    def next(self, rows: Rows, state: State, windows: list[Windows], bits: Tensor) -> Tensor:
        """The best points with one window at an end."""
        channels, height, width = self.schedule.grid
        channel = torch.arange(channels, device=bits.device)
        index = windows[0].index[:, None, :]
        here = channel[:, None] * (height * width) + index
        there = (channel + channels * bits[:, :channels])[:, :, None] * (height * width) + index
        values = state["ends"].gather(1, there.flatten(1))
        return state["best"].flatten(1).scatter(1, here.flatten(1), values).view(state["best"].shape)


@dataclass(frozen=True)
class Bumps:
    """For l2 and l1: the length of a second window is moved into the first, along a pattern of two peaks."""

    problem: Problem
    schedule: Schedule
    windows: ClassVar[int] = 2
    _slack: ClassVar[float] = 1e-6  # of the radius, for the rounding of points

    @cached_property
    def patterns(self) -> Tensor:
        """(sizes, 2, k) the values of each size's pattern, upright and lying, pixel by pixel as in the schedule."""
        norm, pixels = self.problem.threat.norm, self.schedule.local.shape[1]
        both = [
            torch.stack([bump(tall, wide, norm).flatten(), bump(wide, tall, norm).T.flatten()])
            for tall, wide in self.schedule.sides.tolist()
        ]
        # Padding has to repeat the last pixel's value: it is written to that pixel.
        padded = [torch.cat([pair, pair[:, -1:].expand(2, pixels - pair.shape[1])], dim=1) for pair in both]
        return torch.stack(padded).to(self.problem.x)

    def begin(self, rows: Rows, rng: SampleRng) -> State:
        """A grid of patterns, five along the shorter side, each of its own sign in each channel."""
        channels, height, width = self.schedule.grid
        side = max(min(height, width) // 5, 1)
        down, across = height // side, width // side
        bits = (rng.bits((channels + 1, down, across), rows.restarts) >> 32) & 1
        pattern = bump(side, side, self.problem.threat.norm).to(rows.clean)
        tiles = chosen(bits[:, channels:, :, None, :, None], pattern.T[:, None, :], pattern[:, None, :])
        tiles = tiles * (2 * bits[:, :channels, :, None, :, None] - 1)
        move = rows.clean.new_zeros(len(bits), channels, height, width)
        top, left = (height - down * side) // 2, (width - across * side) // 2
        move[:, :, top : top + down * side, left : left + across * side] = tiles.flatten(4, 5).flatten(2, 3)
        return {"x": self._placed(move.flatten(1) * self.problem.threat.eps, rows.clean)}

    def next(self, rows: Rows, state: State, windows: list[Windows], bits: Tensor) -> Tensor:
        """The best points with both windows changed, brought back into ball and box."""
        channels, height, width = self.schedule.grid
        threat, (first, second) = self.problem.threat, windows
        unit = units(rows.clean, threat.scale)
        move = ((state["best"] - rows.clean) / unit).view(len(bits), channels, height * width)
        used = length(move.flatten(1), threat.norm)
        spare = self._power(torch.full_like(used, threat.eps)) - self._power(used)
        into, out = (window.index[:, None, :].expand(-1, channels, -1) for window in windows)
        old = move.gather(2, into)
        move.scatter_(2, into, 0)
        held = self._length(old, first)
        taken = self._length(move.gather(2, out), second)
        move.scatter_(2, out, 0)
        given = spare.clamp_min(0)[:, :, None] / channels + self._power(held) + self._power(taken)
        pattern = self.patterns[first.level, bits[:, channels], : first.index.shape[1]]
        pattern = pattern[:, None, :] * (2 * bits[:, :channels, None] - 1)
        new = pattern + old / held.clamp_min(1e-12)
        # A pattern that undoes what was there stands by itself: a window of one pixel changes its sign.
        new = new + pattern * (self._length(new, first) < 1e-6).to(new.dtype)
        # In l1 every channel gets what all could share, and the least changes of the whole make room for it.
        shares = channels if threat.norm == "l1" else 1
        new = new * (shares * self._root(given) / self._length(new, first))
        return self._placed(move.scatter_(2, into, new).flatten(1), rows.clean)

    def _placed(self, move: Tensor, clean: Tensor) -> Tensor:
        """Points (r, ...) of ball and box along moves (r, features); in l1 the smallest changes are given up first."""
        threat, bounds = self.problem.threat, self.problem.bounds
        unit, radius = units(clean, threat.scale), threat.eps * (1 - self._slack)
        if threat.norm == "l2":
            move = move * (radius / length(move, threat.norm).clamp_min(1e-12))
        x = clean + move.view(clean.shape) * unit
        if isinstance(threat, Ruled):
            return threat.project(x, clean, bounds)
        low, high = box(clean, bounds)
        x = torch.minimum(torch.maximum(x, low), high)
        if threat.norm == "l2":
            return x
        move = ((x - clean) / unit).flatten(1)
        left = (move.abs() - _threshold(move.abs(), radius)).clamp_min(0)
        left = left * move.sign() * (radius / length(left, threat.norm).clamp_min(1e-12)).clamp_max(1)
        x = torch.minimum(torch.maximum(clean + left.view(clean.shape) * unit, low), high)
        return torch.nextafter(x, clean)  # roundings of many small changes would add up

    def _length(self, values: Tensor, window: Windows) -> Tensor:
        """Lengths (r, channels, 1) of what is in a window (r, channels, k).

        Added up one after another, so that the padding, which depends on the other rows, changes no bit.
        """
        parts = self._power(values).abs() * window.inside[:, None, :]
        return self._root(parts.cumsum(dim=2)[..., -1:])

    def _power(self, size: Tensor) -> Tensor:
        """What adds up where lengths do not: squares in l2, lengths themselves in l1."""
        return size**2 if self.problem.threat.norm == "l2" else size

    def _root(self, power: Tensor) -> Tensor:
        return power.sqrt() if self.problem.threat.norm == "l2" else power


def _threshold(size: Tensor, radius: float) -> Tensor:
    """The least t (r, 1) for which max(size - t, 0) sums up to the radius, or less, in rows (r, features); nearly.

    That sum is convex in t: Newton's steps from 0 stay below the solution.
    """
    t = torch.zeros_like(size[:, :1])
    larger = torch.empty_like(size)
    while True:
        count = torch.gt(size, t, out=larger).sum(dim=1, keepdim=True)
        excess = (size - t).clamp_min(0).sum(dim=1, keepdim=True) - radius
        step = excess / count.clamp_min(1)
        step = step.masked_fill(step <= t * 1e-6 + radius * 1e-9, 0)
        if not bool(step.any()):
            return t
        t = t + step
