"""LIME: a weighted linear model of the logit around the input."""

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
from xaibench.explainers.target import TargetLogit
from xaibench.rng import SampleRng
from xaibench.types import Classifier, Inputs

__all__ = ["Lime"]

_BYTES = 48
"""Of working arrays for each coalition and player, at their peak."""


@explainers.register("lime")
@dataclass(frozen=True, kw_only=True)
class Lime:
    """Weights of a ridge regression of the logit on which players are there, that counts inputs near the original more.

    Ribeiro et al., *"Why should I trust you?": explaining the predictions of any classifier* (KDD 2016). Each of
    ``samples`` coalitions has any player with probability one half. One at the cosine distance d from the whole counts
    exp(-d^2 / ``kernel_width``^2); ``ridge`` is the penalty on squared weights, relative to the sum of the counts. The
    notes say how well the linear model fits (weighted R2): where it is low the weights tell little. Standard errors are
    those of a regression whose errors differ in size. A player's weight is shared out evenly among its elements. For
    ``players`` and ``segments`` see `Partition`; features of tables, too, are there or replaced by the baseline.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    players: Partition = "auto"
    segments: int = 64
    samples: int = 2000
    kernel_width: float = 0.25
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InputError(f"expected `samples` >= 2, got {self.samples}")
        if not self.kernel_width > 0:
            raise InputError(f"expected `kernel_width` > 0, got {self.kernel_width}")
        if not self.ridge > 0:
            raise InputError(f"expected `ridge` > 0, got {self.ridge}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        players = players_of(self.players, self.segments, model, logit.x)

        def regress(game: Game, part: TargetLogit) -> tuple[Tensor, ...]:
            weights, stderr, fit = self._regress(game, part.rng(seed))
            return game.spread(weights), game.spread(stderr), fit

        each = _BYTES * self.samples * players.most
        values, stderr, fit = play(logit, players, baseline, each, regress)
        notes = (f"the linear model explains {float(fit.mean()):.0%} of the logit's variance nearby (weighted R2)",)
        if len(fit) > 1:
            notes = (f"{notes[0]}, and {float(fit.min()):.0%} at worst",)
        return logit.attribution(values, seed=seed, baseline=baseline, stderr=stderr, notes=notes)

    def _regress(self, game: Game, rng: SampleRng) -> tuple[Tensor, Tensor, Tensor]:
        """Weights and standard errors (n, players), and R2 (n,)."""
        there = game.players.present
        n, most = there.shape
        rows = torch.arange(n, device=there.device).repeat_interleave(self.samples)
        # A step for each coalition: what is drawn does not depend on how many players other samples have.
        steps = torch.arange(self.samples).repeat(n)
        members = (replace(rng, ids=rng.ids[rows]).bits((most,), steps) < 0) & there[rows]
        scores = game.value(rows, members).view(n, -1)
        return self._fit(members.view(n, -1, most).double(), scores - game.full[:, None], game.players.count)

    def _fit(self, members: Tensor, scores: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same for coalitions (n, m, players), float64, and their logits (n, m)."""
        distance = 1 - (members.sum(dim=2) / count.clamp_min(1)[:, None]).sqrt()
        kernel = torch.exp(-(distance / self.kernel_width).square())
        kernel = kernel / kernel.sum(dim=1, keepdim=True)
        centred = members - (kernel[:, None] @ members)
        rest = scores - (kernel * scores).sum(dim=1, keepdim=True)
        weighted = centred * kernel[:, :, None]
        penalty = self.ridge * torch.eye(members.shape[2], dtype=torch.float64, device=members.device)
        inverse = torch.linalg.inv(weighted.mT @ centred + penalty)
        weights = (inverse @ (weighted.mT @ rest[:, :, None])).squeeze(2)
        error = rest - (centred @ weights[:, :, None]).squeeze(2)
        influence = weighted @ inverse * error[:, :, None]
        spare = (members.shape[1] - 1 - count).clamp_min(1) / members.shape[1]
        variance = (kernel * rest.square()).sum(dim=1)
        fit = 1 - (kernel * error.square()).sum(dim=1) / variance.clamp_min(1e-24)
        return weights, influence.square().sum(dim=1).sqrt() / spare[:, None].sqrt(), fit * (variance > 1e-24)
