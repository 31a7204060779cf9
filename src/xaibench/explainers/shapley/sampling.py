"""Shapley values from sampled permutations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.budget import samples_at_once
from xaibench.explainers.perturb import Game, play
from xaibench.explainers.players import Partition, players_of
from xaibench.explainers.shapley.rounds import Rounds, check_sampling, random_ranks, settled
from xaibench.explainers.target import TargetLogit
from xaibench.rng import SampleRng
from xaibench.types import Classifier, Inputs

__all__ = ["ShapleySampling"]

_LEAST = 16
"""Pairs drawn at least: standard errors from fewer say little."""
_UNSEEN = 8
"""Of so many pairs more, all with the spread of the other players, a player's least variance is the mean."""
_BYTES = 16
"""Of working arrays for each coalition and player, at their peak."""
_KEPT = 48
"""Bytes for each coalition whose logit is kept."""


@explainers.register("shapley_sampling")
@dataclass(frozen=True, kw_only=True)
class ShapleySampling:
    """Shapley values as the mean rise of the logit when players join in sampled orders, each with its reverse.

    Castro et al., *Polynomial calculation of the Shapley value based on sampling* (Computers & Operations Research
    2009); reversed pairs after Mitchell et al., *Sampling permutations for Shapley value estimation* (JMLR 2022). A
    sample draws pairs until all its standard errors are below ``tolerance``, relative to the change of the logit from
    the baseline, or its ``budget`` of evaluations is spent; two pairs it draws whatever the budget. The values add up
    to that change whatever was drawn. A player's value is shared out evenly among its elements. For ``players`` and
    ``segments`` see `Partition`.

    That a player's rises were equal in a few pairs does not prove that all are: it may matter in rare orders alone. So
    its variance counts as at least 8 / (k + 7) of the mean variance of the sample's players after k pairs. Errors are
    zero where no player's rise varied: then the model looks additive, which sampling cannot prove.
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
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        players = players_of(self.players, self.segments, model, logit.x)

        def sample(game: Game, part: TargetLogit) -> tuple[Tensor, ...]:
            values, stderr = self._sample(game, part.rng(seed))
            return game.spread(values), game.spread(stderr), game.change

        values, stderr, change = play(logit, players, baseline, _KEPT * self.budget, sample)
        return logit.attribution(values, seed=seed, baseline=baseline, stderr=stderr, change=change)

    def _sample(self, game: Game, rng: SampleRng) -> tuple[Tensor, Tensor]:
        """Values and standard errors (n, players)."""
        count = game.players.count
        pairs = (self.budget // (2 * (count - 1)).clamp_min(1)).clamp_min(2) * (count > 1)
        rounds = Rounds(torch.full_like(pairs, _LEAST), pairs)
        total = torch.zeros(game.players.present.shape, dtype=torch.float64, device=count.device)
        squares, stderr = torch.zeros_like(total), torch.zeros_like(total)
        size = samples_at_once(2 * _BYTES * total.shape[1] ** 2)
        for rows, steps in rounds:
            for part in torch.arange(len(rows), device=rows.device).split(size):
                rise = _rises(game, rows[part], random_ranks(game, rng, rows[part], steps[part]))
                total.index_add_(0, rows[part], rise)
                squares.index_add_(0, rows[part], rise.square())
            done = rounds.done[:, None].clamp_min(2)
            variance = (squares - total.square() / done).clamp_min(0) / (done - 1)
            pooled = variance.sum(dim=1, keepdim=True) / count[:, None].clamp_min(1)
            least = pooled * (_UNSEEN / (_UNSEEN + done - 1)) * game.players.present
            stderr = (torch.maximum(variance, least) / done).sqrt()
            rounds.settle(settled(stderr, game.change, self.tolerance))
        alone = (count == 1)[:, None] & game.players.present
        return total / rounds.done[:, None].clamp_min(1) + alone * game.change[:, None], stderr


def _rises(game: Game, rows: Tensor, ranks: Tensor) -> Tensor:
    """By how much the logit rises when each player joins, (k, players): the mean over an order and its reverse."""
    there, count = game.players.present[rows], game.players.count[rows]
    first = torch.arange(1, max(2, there.shape[1]), device=rows.device).expand(len(rows), -1)
    pair, size = (first < count[:, None]).nonzero(as_tuple=True)
    before = ranks[pair] <= size[:, None]
    coalitions = torch.stack([before, there[pair] & ~before], dim=1).flatten(0, 1)
    scores = game.value(rows[pair].repeat_interleave(2), coalitions)
    edge = torch.arange(len(rows), device=rows.device)
    grown = torch.zeros(len(rows), there.shape[1] + 1, dtype=torch.float64, device=rows.device)
    grown[edge, count], grown[:, 0] = game.full[rows], game.empty[rows]
    shrunk = torch.zeros_like(grown)
    shrunk[edge, count], shrunk[:, 0] = game.empty[rows], game.full[rows]
    grown[pair, size + 1], shrunk[pair, size + 1] = scores[0::2], scores[1::2]
    rise = (grown[:, 1:] - grown[:, :-1] + shrunk[:, :-1] - shrunk[:, 1:]) / 2
    return rise.gather(1, ranks) * there
