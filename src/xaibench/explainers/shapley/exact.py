"""Shapley values from all coalitions."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.perturb import Game, play
from xaibench.explainers.players import Partition, players_of
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["ShapleyExact"]

_MOST = 12
_BYTES = 16
"""Of working arrays for each coalition and player, at their peak."""


@explainers.register("shapley_exact")
@dataclass(frozen=True, kw_only=True)
class ShapleyExact:
    """Shapley values by enumeration: the mean rise of the logit when a player joins the others in random order.

    Shapley, *A value for n-person games* (1953). They add up to the change of the logit from the baseline. At most 12
    players that differ from the baseline: that is 4,096 evaluations for each sample. A player's value is shared out
    evenly among its elements. For ``players`` and ``segments`` see `Partition`.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    players: Partition = "auto"
    segments: int = 12

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`; raises `UnsupportedError` where a sample has more than 12 players."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        players = players_of(self.players, self.segments, model, logit.x)
        if (most := players.among(logit.x, baseline).most) > _MOST:
            raise UnsupportedError(
                f"shapley_exact takes at most {_MOST} players that differ from the baseline, got {most}: "
                "give larger groups, or use shapley_sampling"
            )

        def enumerate_all(game: Game, _: TargetLogit) -> tuple[Tensor, ...]:
            values = torch.zeros(game.players.present.shape, dtype=torch.float64, device=logit.x.device)
            for count in game.players.count.unique().tolist():
                rows = (game.players.count == count).nonzero().squeeze(1)
                values[rows, :count] = _enumerate(game, rows, count)
            return game.spread(values), game.change

        values, change = play(logit, players, baseline, _BYTES * 2**most * (most + 3), enumerate_all)
        return logit.attribution(values, seed=seed, baseline=baseline, change=change)


def _enumerate(game: Game, rows: Tensor, count: int) -> Tensor:
    """Shapley values (m, count) of samples ``rows`` (m,), each with ``count`` players."""
    if not count:
        return game.full.new_zeros(len(rows), 0)
    code = torch.arange(2**count, device=rows.device)
    member = code[:, None] >> torch.arange(count, device=rows.device) & 1 == 1
    coalitions = torch.nn.functional.pad(member, (0, game.players.most - count))
    scores = game.value(rows.repeat_interleave(len(code)), coalitions.repeat(len(rows), 1))
    # The share of the orders in which just these players come before the one that joins them.
    share = torch.tensor([1 / (count * comb(count - 1, k)) for k in range(count)], dtype=torch.float64)
    size = member.sum(dim=1, keepdim=True)
    joins, joined = share.to(rows.device)[(size - 1).clamp_min(0)], share.to(rows.device)[size.clamp_max(count - 1)]
    return scores.view(len(rows), -1) @ (joins * member - joined * ~member)
