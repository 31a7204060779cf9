"""Training on clean and adversarial inputs together, tied by the divergence of their predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.training.objectives.ascent import SummedCrossEntropy, ascended, check_steps, random_point
from xaibench.training.objectives.base import CONTINUOUS, Forward, TrainingLoss, objectives
from xaibench.training.objectives.terms import check_continuous, check_label_smoothing, check_weight, divergence
from xaibench.types import Task

__all__ = ["MART", "TRADES"]


@objectives.register("trades")
@dataclass(frozen=True, kw_only=True)
class TRADES:
    """Cross entropy of the clean input, and ``beta`` times how far an adversarial one moves the prediction (KL).

    Zhang et al., *Theoretically principled trade-off between robustness and accuracy* (ICML 2019).

    Args:
        beta: weight of the second term: the more, the more robust and the less accurate.
        steps: gradient steps of the inner ascent of the divergence, at least 1.
        step_size: length of a step as a fraction of the radius; 2.5 / ``steps`` if not given.
        noise: deviation of the normal noise at the start, in the threat's unit of distance (input units for images,
            a feature's range for tables); the divergence is flat at the input itself.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    beta: float = 6.0
    steps: int = 10
    step_size: float | None = None
    noise: float = 1e-3
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)
        check_weight("beta", self.beta)
        check_label_smoothing(self.label_smoothing)
        if not 0 < self.noise < float("inf"):
            raise InputError(f"expected `noise` > 0, got {self.noise}")

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of an ascent of the divergence from the clean prediction."""
        check_continuous(x)
        threat, clean = forward.threat, forward.evaluate(x)
        unit = x.new_tensor(1.0 if threat.scale is None else threat.scale)
        noise = forward.rng.normal(tuple(x.shape[1:])).to(x.dtype) * self.noise * unit
        start = threat.project(x + noise, x, forward.bounds)
        return ascended(
            forward,
            x,
            lambda logits: divergence(clean, logits).sum(),
            start=start,
            steps=self.steps,
            step_size=self.step_size,
        )

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`; clean and adversarial inputs go through the network as one batch."""
        clean, moved = forward(torch.cat([x, perturbed]))[0].chunk(2)
        accuracy = F.cross_entropy(clean, y, label_smoothing=self.label_smoothing)
        return TrainingLoss(accuracy + self.beta * divergence(clean, moved).mean(), moved)


@objectives.register("mart")
@dataclass(frozen=True, kw_only=True)
class MART:
    """Boosted cross entropy of the adversarial input, and the divergence from the clean prediction where that is wrong.

    Wang et al., *Improving adversarial robustness requires revisiting misclassified examples* (ICLR 2020). Boosted
    cross entropy also pushes down the likeliest wrong class: -log p_y - log(1 - max_k p_k over k other than y). The
    divergence of a sample counts 1 - p_y, of its clean prediction.

    Args:
        beta: weight of the second term.
        steps: gradient steps of the inner ascent of cross entropy, at least 1.
        step_size: length of a step as a fraction of the radius; 2.5 / ``steps`` if not given.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    beta: float = 6.0
    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)
        check_weight("beta", self.beta)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the ascent."""
        start = random_point(forward, x)
        return ascended(forward, x, SummedCrossEntropy(y), start=start, steps=self.steps, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`; clean and adversarial inputs go through the network as one batch."""
        clean, moved = forward(torch.cat([x, perturbed]))[0].chunk(2)
        missed = 1 - clean.softmax(1).gather(1, y[:, None])[:, 0]
        boosted = F.cross_entropy(moved, y) - _log_other_than_runner_up(moved, y).mean()
        return TrainingLoss(boosted + self.beta * (divergence(clean, moved) * missed).mean(), moved)


def _log_other_than_runner_up(logits: Tensor, y: Tensor) -> Tensor:
    """log(1 - p_k) (n,) of the likeliest wrong class k, as a difference of sums that does not cancel."""
    runner_up = logits.detach().scatter(1, y[:, None], -float("inf")).argmax(1, keepdim=True)
    others = logits.scatter(1, runner_up, -float("inf"))
    return others.logsumexp(1) - logits.logsumexp(1)
