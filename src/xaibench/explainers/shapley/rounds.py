"""Sampling in rounds, until the values of a sample are as sure as asked or its evaluations are spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.perturb import Game
from xaibench.rng import SampleRng

__all__ = ["Rounds", "check_sampling", "random_ranks", "settled"]

_FLOOR = 1e-3
"""Of the change that a tolerance is relative to: see `completeness_gap`."""


@dataclass
class Rounds:
    """Numbers the draws of samples, each of which takes ``least`` (n,) at first, then twice as many, up to ``most``.

    What a sample draws does not depend on the others.
    """

    least: Tensor
    most: Tensor
    done: Tensor = field(init=False)
    """(n,): draws so far."""

    def __post_init__(self) -> None:
        self.done = torch.zeros_like(self.most)
        self._active = self.most > 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Rounds of samples (m,), in order, and numbers (m,) of their draws."""
        while bool(self._active.any()):
            until = torch.minimum(torch.maximum(self.least, 2 * self.done), self.most)
            todo = (until - self.done) * self._active
            rows = torch.arange(len(todo), device=todo.device).repeat_interleave(todo)
            first = (todo.cumsum(0) - todo)[rows]
            steps = self.done[rows] + torch.arange(len(rows), device=rows.device) - first
            self.done = self.done + todo
            self._active = self._active & (self.done < self.most)
            yield rows, steps

    def settle(self, settled: Tensor) -> None:
        """No more draws for the samples marked in ``settled`` (n,)."""
        self._active = self._active & ~settled


def check_sampling(budget: int, tolerance: float) -> None:
    """Raise `InputError` for what cannot bound a sampling."""
    if budget < 4:
        raise InputError(f"expected `budget` >= 4 evaluations, got {budget}")
    if not tolerance >= 0:
        raise InputError(f"expected `tolerance` >= 0, got {tolerance}")


def settled(stderr: Tensor, change: Tensor, tolerance: float) -> Tensor:
    """(n,), bool: whether all standard errors (n, players) are within the tolerance, relative to the change (n,)."""
    return stderr.amax(dim=1) <= tolerance * change.abs().clamp_min(_FLOOR)


def random_ranks(game: Game, rng: SampleRng, rows: Tensor, steps: Tensor) -> Tensor:
    """Places (k, players) of the players in random orders of samples ``rows`` (k,), drawn as numbers ``steps`` (k,).

    Players that a sample lacks come last.
    """
    bits = replace(rng, ids=rng.ids[rows]).bits((game.players.most,), steps)
    last = torch.iinfo(torch.int64).max
    return bits.masked_fill(~game.players.present[rows], last).argsort(dim=1).argsort(dim=1)
