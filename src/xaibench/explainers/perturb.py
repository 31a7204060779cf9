"""The logit of inputs in which parts are replaced by a baseline: what all perturbation methods ask for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaibench.explainers.players import Players
from xaibench.explainers.target import TargetLogit
from xaibench.rng import SampleRng, content_ids

__all__ = ["Game", "Perturbed", "play"]


class Perturbed:
    """Target logits of samples that are blended with a baseline (n, ...)."""

    def __init__(self, logit: TargetLogit, baseline: Tensor) -> None:
        self._logit = logit
        self._baseline = baseline.contiguous()
        self._difference = logit.x - baseline
        self._buffer: Tensor | None = None

    def score(self, rows: Tensor, masks: Callable[[int, slice], Tensor]) -> Tensor:
        """Target logits (m,), float64, of samples ``rows`` (m,), in which those of one sample follow each other.

        ``masks(row, part)`` says how much is left of sample ``row`` in the evaluations ``part`` of 0..m-1: numbers that
        broadcast to (k, ...), 1 for the input and 0 for the baseline. Evaluations of many samples share a pass.
        """
        found = []
        for part in self._logit.split(len(rows), backward=False):
            found.append(self._logit.score(rows[part], self._blend(rows[part], int(part[0]), masks)))
        return torch.cat(found) if found else rows.new_zeros(0, dtype=torch.float64)

    def _blend(self, rows: Tensor, start: int, masks: Callable[[int, slice], Tensor]) -> Tensor:
        if self._buffer is None or len(self._buffer) < len(rows):
            self._buffer = self._baseline.new_empty(len(rows), *self._baseline.shape[1:])
        samples, counts = rows.unique_consecutive(return_counts=True)
        done = 0
        for row, count in zip(samples.tolist(), counts.tolist(), strict=True):
            mask = masks(row, slice(start + done, start + done + count)).to(self._baseline.dtype)
            out = self._buffer[done : done + count]
            torch.addcmul(self._baseline[row : row + 1], mask, self._difference[row : row + 1], out=out)
            done += count
        return self._buffer[:done]


class Game:
    """The target logit of each sample as a function of which of its players are there.

    The others are replaced by the baseline. Players whose elements the baseline does not change are left out: they
    cannot matter. No coalition of a sample is evaluated twice.
    """

    def __init__(self, logit: TargetLogit, players: Players, baseline: Tensor) -> None:
        self.players = players.among(logit.x, baseline)
        self.baseline = baseline
        self._whole, self._shape = players, logit.x.shape
        self._perturbed = Perturbed(logit, baseline)
        self._columns = self.players.columns
        keys = SampleRng(torch.arange(self.players.most), stream="coalitions").bits((1,)).squeeze(1)
        self._keys, self._samples = keys.to(logit.x.device), content_ids(torch.arange(len(logit.x))[:, None])
        self._known, self._values = self._keys[:0], self._keys[:0].double()
        there = self.players.present
        ends = self.value(
            torch.arange(len(there), device=there.device).repeat_interleave(2),
            torch.stack([torch.zeros_like(there), there], dim=1).flatten(0, 1),
        )
        self.empty, self.full = ends[0::2], ends[1::2]

    @property
    def change(self) -> Tensor:
        """(n,), float64: by how much the logit at the input is above that at the baseline."""
        return self.full - self.empty

    def value(self, rows: Tensor, coalitions: Tensor) -> Tensor:
        """Logits (m,), float64, of samples ``rows`` (m,) with only those players (m, players), bool, that are there.

        The evaluations of one sample follow each other. Players beyond a sample's own are absent.
        """
        keys, place = (coalitions.long() @ self._keys + self._samples[rows]).unique(return_inverse=True)
        known = torch.searchsorted(self._known, keys).clamp_max(max(0, len(self._known) - 1))
        new = self._known[known] != keys if len(self._known) else torch.ones_like(keys, dtype=torch.bool)
        found = torch.empty(len(keys), dtype=torch.float64, device=keys.device)
        found[~new] = self._values[known[~new]]
        if bool(new.any()):
            at = torch.empty_like(keys).scatter_(0, place, torch.arange(len(rows), device=rows.device))
            chosen, order = at[new].sort()
            values = self._evaluate(rows[chosen], coalitions[chosen])
            found[new.nonzero().squeeze(1)[order]] = values
            self._known, order = torch.cat([self._known, keys[new]]).sort()
            self._values = torch.cat([self._values, found[new]])[order]
        return found[place]

    def spread(self, values: Tensor) -> Tensor:
        """Values (n, players) shared out evenly among the elements of each player: in the inputs' shape."""
        return self.players.spread(values, self._shape)

    def _evaluate(self, rows: Tensor, coalitions: Tensor) -> Tensor:
        # A last column stands for the elements without a player, which are always there.
        there = torch.nn.functional.pad(coalitions.to(torch.float32), (0, 1), value=1.0)
        shape = self.players.index.shape[1:]
        return self._perturbed.score(
            rows, lambda row, part: there[part].index_select(1, self._columns[row]).view(-1, *shape)
        )


def play(
    logit: TargetLogit,
    players: Players,
    baseline: Tensor,
    each: int,
    work: Callable[[Game, TargetLogit], tuple[Tensor, ...]],
) -> tuple[Tensor, ...]:
    """What ``work`` gives for games of some samples, and for their logit: see `TargetLogit.in_groups`."""

    def in_group(rows: Tensor) -> tuple[Tensor, ...]:
        part = logit.part(rows)
        return work(Game(part, players.of_samples(rows), baseline[rows]), part)

    return logit.in_groups(each, in_group)
