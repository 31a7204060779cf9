"""What is lost with each player: by the baseline in its place, or by values of other samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Background, Baseline, background_inputs, baseline_inputs
from xaibench.explainers.perturb import Game, play
from xaibench.explainers.players import Partition, Players, players_of
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["FeatureAblation", "FeaturePermutation"]

_BYTES = 16
"""Of working arrays for each coalition and player, or for each element of an input, at their peak."""


@explainers.register("feature_ablation")
@dataclass(frozen=True, kw_only=True)
class FeatureAblation:
    """By how much the logit falls when one player is replaced by the baseline.

    Li et al., *Understanding neural networks through representation erasure* (2016). A player's fall is shared out
    evenly among its elements, so that the sum over elements is the sum over players. For ``players`` and ``segments``
    see `Partition`.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    players: Partition = "auto"
    segments: int = 64

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        players = players_of(self.players, self.segments, model, logit.x)
        (values,) = play(logit, players, baseline, _bytes(logit, players), lambda game, _: (game.spread(_falls(game)),))
        return logit.attribution(values, seed=seed, baseline=baseline)


@explainers.register("feature_permutation")
@dataclass(frozen=True, kw_only=True)
class FeaturePermutation:
    """By how much the logit falls, on average, when one player takes its values from a background sample.

    After the permutation importance of Breiman, *Random forests* (Machine Learning 2001), for single predictions. The
    background samples are the same for all inputs, so that nothing depends on the batch; ``samples`` of them are drawn.
    Standard errors are those of the mean over them. For ``players`` and ``segments`` see `Partition`.
    """

    name: ClassVar[str]

    background: Background = "auto"
    samples: int = 32
    players: Partition = "auto"
    segments: int = 64

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InputError(f"expected `samples` >= 2, got {self.samples}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        background, note = background_inputs(self.background, model, logit.x, count=self.samples, seed=seed)
        players = players_of(self.players, self.segments, model, logit.x)
        count = len(background)

        def in_group(rows: Tensor) -> tuple[Tensor, ...]:
            part, own = logit.part(rows), players.of_samples(rows)
            total = torch.zeros(part.x.shape, dtype=torch.float64, device=part.x.device)
            squares = torch.zeros_like(total)
            for other in background:
                game = Game(part, own, other.expand_as(part.x))
                fall = game.spread(_falls(game))
                total += fall
                squares += fall.square()
            mean = total / count
            variance = (squares / count - mean.square()).clamp_min(0) * count / max(1, count - 1)
            return mean, (variance / count).sqrt()

        mean, stderr = logit.in_groups(_bytes(logit, players), in_group)
        return logit.attribution(mean, seed=seed, stderr=stderr if count > 1 else None, notes=(note,))


def _bytes(logit: TargetLogit, players: Players) -> int:
    """Of working arrays for each sample."""
    return _BYTES * (players.most**2 + 4 * logit.x[:1].numel())


def _falls(game: Game) -> Tensor:
    """(n, players): the logit with everyone, less that without one player."""
    there = game.players.present
    rows, player = there.nonzero(as_tuple=True)
    without = there[rows]
    without[torch.arange(len(rows), device=rows.device), player] = False
    falls = torch.zeros(there.shape, dtype=torch.float64, device=there.device)
    falls[rows, player] = game.full[rows] - game.value(rows, without)
    return falls
