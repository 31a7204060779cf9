"""Adversarial training with an inner maximiser of several steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.training.objectives.ascent import ascended, check_steps, cross_entropy_of
from xaibench.training.objectives.base import Forward, TrainingLoss, objectives

__all__ = ["TRADES", "PGDTraining"]


@objectives.register("pgd_at")
@dataclass(frozen=True, kw_only=True)
class PGDTraining:
    """Cross entropy at the end of a projected gradient ascent of it: the model trains on adversarial inputs only.

    Madry et al., *Towards deep learning models resistant to adversarial attacks* (ICLR 2018).

    Args:
        steps: gradient steps, at least 1.
        step_size: length of a step as a fraction of the radius; 2.5 / ``steps`` if not given.
        random_start: begin at a random point of the ball, instead of the training input.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"expected `label_smoothing` >= 0 and < 1, got {self.label_smoothing}")

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the ascent."""
        start = forward.threat.sample(forward.rng, x, forward.bounds) if self.random_start else x
        return ascended(forward, x, cross_entropy_of(y), start=start, steps=self.steps, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        logits = forward(perturbed)[0]
        return TrainingLoss(F.cross_entropy(logits, y, label_smoothing=self.label_smoothing), logits)


@objectives.register("trades")
@dataclass(frozen=True, kw_only=True)
class TRADES:
    """Cross entropy of the clean input, and ``beta`` times how far an adversarial one moves the prediction (KL).

    Zhang et al., *Theoretically principled trade-off between robustness and accuracy* (ICML 2019).

    Args:
        beta: weight of the second term: the more, the more robust and the less accurate.
        steps: gradient steps of the inner ascent of the divergence, at least 1.
        step_size: length of a step as a fraction of the radius; 2.5 / ``steps`` if not given.
        noise: deviation of the normal noise at the start, in input units; the divergence is flat at the input itself.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    beta: float = 6.0
    steps: int = 10
    step_size: float | None = None
    noise: float = 1e-3
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)
        if not self.beta >= 0:
            raise InputError(f"expected `beta` >= 0, got {self.beta}")
        if not self.noise > 0:
            raise InputError(f"expected `noise` > 0, got {self.noise}")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"expected `label_smoothing` >= 0 and < 1, got {self.label_smoothing}")

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of an ascent of the divergence from the clean prediction."""
        clean = forward.evaluate(x).log_softmax(1)

        def divergence(logits: Tensor) -> Tensor:
            return F.kl_div(logits.log_softmax(1), clean, reduction="sum", log_target=True)

        noise = forward.rng.normal(tuple(x.shape[1:])).to(x.dtype) * self.noise
        start = forward.threat.project(x + noise, x, forward.bounds)
        return ascended(forward, x, divergence, start=start, steps=self.steps, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`; clean and adversarial inputs go through the network as one batch."""
        clean, moved = forward(torch.cat([x, perturbed]))[0].chunk(2)
        divergence = F.kl_div(moved.log_softmax(1), clean.log_softmax(1), reduction="batchmean", log_target=True)
        accuracy = F.cross_entropy(clean, y, label_smoothing=self.label_smoothing)
        return TrainingLoss(accuracy + self.beta * divergence, moved)
