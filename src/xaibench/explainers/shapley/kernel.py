"""Shapley values by regression on sampled coalitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.perturb import Game, play
from xaibench.explainers.players import Partition, players_of
from xaibench.explainers.shapley.rounds import Rounds, check_sampling, random_ranks, settled
from xaibench.explainers.target import TargetLogit
from xaibench.rng import SampleRng
from xaibench.types import Classifier, Inputs

__all__ = ["KernelShap"]

_LEAST = 32
_PER_PLAYER = 4
"""Pairs drawn at least for each player: a regression on fewer follows its noise."""
_BYTES = 64
"""Of working arrays for each pair and player, at their peak."""


@explainers.register("kernel_shap")
@dataclass(frozen=True, kw_only=True)
class KernelShap:
    """Shapley values as the linear game that fits sampled coalitions best, by weighted least squares.

    Lundberg & Lee, *A unified approach to interpreting model predictions* (NeurIPS 2017). Each coalition is drawn with
    the probability that is its weight, and its complement with it, after Covert & Lee, *Improving KernelSHAP* (AISTATS
    2021). Standard errors are those of a regression whose errors differ in size. A sample draws until all of them are
    below ``tolerance``, relative to the change of the logit from the baseline, or its ``budget`` of evaluations is
    spent. The values add up to that change whatever was drawn. A player's value is shared out evenly among its
    elements. For ``players`` and ``segments`` see `Partition`.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    players: Partition = "auto"
    segments: int = 64
    tolerance: float = 0.005
    budget: int = 4096

    def __post_init__(self) -> None:
        check_sampling(self.budget, self.tolerance)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`; raises `InputError` where the budget is below four evaluations for each player."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        players = players_of(self.players, self.segments, model, logit.x)
        if self.budget < 4 * players.most and self.budget < 4 * (most := players.among(logit.x, baseline).most):
            raise InputError(f"expected `budget` >= {4 * most}, four evaluations for each player, got {self.budget}")

        def sample(game: Game, part: TargetLogit) -> tuple[Tensor, ...]:
            values, stderr = self._sample(game, part.rng(seed))
            return game.spread(values), game.spread(stderr), game.change

        each = _BYTES * self.budget // 2 * players.most
        values, stderr, change = play(logit, players, baseline, each, sample)
        return logit.attribution(values, seed=seed, baseline=baseline, stderr=stderr, change=change)

    def _sample(self, game: Game, rng: SampleRng) -> tuple[Tensor, Tensor]:
        """Values and standard errors (n, players)."""
        count = game.players.count
        rounds = Rounds((_PER_PLAYER * count).clamp_min(_LEAST), torch.full_like(count, self.budget // 2) * (count > 1))
        values = game.players.present * (game.change / count.clamp_min(1))[:, None]
        stderr = torch.zeros_like(values)
        drawn: list[list[tuple[Tensor, Tensor]]] = [[] for _ in count]
        for rows, steps in rounds:
            members = _members(game, rng, rows, steps)
            pairs = torch.stack([members, game.players.present[rows] & ~members], dim=1).flatten(0, 1)
            scores = game.value(rows.repeat_interleave(2), pairs)
            rise = scores[0::2] - scores[1::2]
            for row, place in _groups(rows):
                drawn[row].append((members[place], rise[place]))
                players = int(count[row])
                parts = [torch.cat(part) for part in zip(*drawn[row], strict=True)]
                fit = _fit(parts[0][:, :players], parts[1], float(game.change[row]))
                values[row, :players], stderr[row, :players] = fit
            rounds.settle(settled(stderr, game.change, self.tolerance))
        return values, stderr


def _members(game: Game, rng: SampleRng, rows: Tensor, steps: Tensor) -> Tensor:
    """Random coalitions (k, players), bool: of k out of P players with a probability in proportion to 1 / k (P - k)."""
    count = game.players.count[rows]
    sizes = torch.arange(1, max(2, game.players.most), device=rows.device).double()
    left = count[:, None] - sizes
    weight = (left > 0) / (sizes * left.clamp_min(1))
    point = replace(rng, ids=rng.ids[rows], stream=f"{rng.stream} size").uniform((1,), steps).double()
    size = 1 + (weight.cumsum(dim=1) <= point * weight.sum(dim=1, keepdim=True)).sum(dim=1, keepdim=True)
    return random_ranks(game, rng, rows, steps) < size


def _fit(members: Tensor, rise: Tensor, change: float) -> tuple[Tensor, Tensor]:
    """Values and standard errors (players,) from coalitions (k, players) and by how much each is above its complement.

    With v(S) - v(N \\ S) on the left, least squares over all coalitions drawn is that of ``rise`` on signs, +1 for a
    member and -1 for any other: what a coalition and its complement have in common tells nothing about the players.
    """
    signs = 2.0 * members.double() - 1
    players = signs.shape[1]
    mean = signs.mean(dim=1, keepdim=True)
    # Values are equal shares of the change and a rest that adds up to nothing: the rest is what is fitted.
    centred, rest = signs - mean, rise - change * mean.squeeze(1)
    inverse = torch.linalg.inv(
        centred.T @ centred + torch.ones(players, players, dtype=torch.float64, device=rise.device)
    )
    fitted = inverse @ (centred.T @ rest)
    # HC3 of MacKinnon & White (1985): residuals as if each draw had been left out of the fit.
    leverage = (centred @ inverse * centred).sum(dim=1)
    error = (rest - centred @ fitted) / (1 - leverage).clamp_min(1e-6)
    spread = (inverse @ centred.T) * error
    return change / players + fitted, spread.square().sum(dim=1).sqrt()


def _groups(rows: Tensor) -> list[tuple[int, slice]]:
    """The samples in ``rows``, and where their entries lie."""
    samples, counts = rows.unique_consecutive(return_counts=True)
    ends = counts.cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    return [(row, slice(a, b)) for row, a, b in zip(samples.tolist(), starts, ends, strict=True)]
