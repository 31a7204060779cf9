"""Adversarial training with one gradient step in each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.training.objectives.ascent import ascended, check_steps, cross_entropy_of
from xaibench.training.objectives.base import Forward, TrainingLoss, objectives
from xaibench.types import Bounds

__all__ = ["FGSMRandomStart", "NoisyFGSM"]

_EVERYWHERE = Bounds(-float("inf"), float("inf"))


@objectives.register("fgsm_rs")
@dataclass(frozen=True, kw_only=True)
class FGSMRandomStart:
    """Cross entropy after one long step from a random point of the ball.

    Wong, Rice & Kolter, *Fast is better than free: revisiting adversarial training* (ICLR 2020).

    Args:
        step_size: length of the step as a fraction of the radius.
    """

    adversarial: ClassVar[bool] = True
    step_size: float = 1.25

    def __post_init__(self) -> None:
        check_steps(1, self.step_size)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the step."""
        start = forward.threat.sample(forward.rng, x, forward.bounds)
        return ascended(forward, x, cross_entropy_of(y), start=start, steps=1, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        logits = forward(perturbed)[0]
        return TrainingLoss(F.cross_entropy(logits, y), logits)


@objectives.register("n_fgsm")
@dataclass(frozen=True, kw_only=True)
class NoisyFGSM:
    """Cross entropy after one step from strong noise, and no projection: what leaves the ball stays outside.

    de Jorge et al., *Make some noise: reliable and efficient single-step adversarial training* (NeurIPS 2022).

    Args:
        step_size: length of the step as a fraction of the radius.
        noise: size of the noise, as a multiple of the radius.
    """

    adversarial: ClassVar[bool] = True
    step_size: float = 1.0
    noise: float = 2.0

    def __post_init__(self) -> None:
        check_steps(1, self.step_size)
        if not self.noise > 0:
            raise InputError(f"expected `noise` > 0, got {self.noise}")

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the step, moved into the box of valid inputs."""
        threat, bounds = forward.threat, forward.bounds
        # Twice the way to a point of the ball is a point of the ball of twice the radius, in every norm.
        start = x + self.noise * (threat.sample(forward.rng, x, _EVERYWHERE) - x)
        gradient = forward.input_gradient(start, cross_entropy_of(y))
        return bounds.clip(threat.ascend(start, gradient, self.step_size * threat.eps, bounds))

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        logits = forward(perturbed)[0]
        return TrainingLoss(F.cross_entropy(logits, y), logits)
