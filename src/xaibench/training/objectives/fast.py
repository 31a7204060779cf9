"""Adversarial training with one gradient step in each batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.threats import as_dict
from xaibench.threats import threat as make_threat
from xaibench.training.objectives.ascent import SummedCrossEntropy, ascended, check_step_size, random_point, valid
from xaibench.training.objectives.base import CONTINUOUS, Forward, TrainingLoss, objectives
from xaibench.training.objectives.terms import check_continuous, check_label_smoothing, check_weight, cross_entropy_at
from xaibench.types import Bounds, Task

__all__ = ["FGSMRandomStart", "GradAlign", "NoisyFGSM"]

_EVERYWHERE = Bounds(-float("inf"), float("inf"))


@objectives.register("fgsm_rs")
@dataclass(frozen=True, kw_only=True)
class FGSMRandomStart:
    """Cross entropy after one long step from a random point of the ball.

    Wong, Rice & Kolter, *Fast is better than free: revisiting adversarial training* (ICLR 2020). Training for long or
    at large radii ends in catastrophic overfitting: the model resists this step and nothing else. The probe shows it.

    Args:
        step_size: length of the step as a fraction of the radius.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    step_size: float = 1.25
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_step_size(self.step_size)
        check_label_smoothing(self.label_smoothing)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the step."""
        start = random_point(forward, x)
        return ascended(forward, x, SummedCrossEntropy(y), start=start, steps=1, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        return cross_entropy_at(forward, perturbed, y, self.label_smoothing)


@objectives.register("n_fgsm")
@dataclass(frozen=True, kw_only=True)
class NoisyFGSM:
    """Cross entropy after one step from strong noise, and no projection: what leaves the ball stays outside.

    de Jorge et al., *Make some noise: reliable and efficient single-step adversarial training* (NeurIPS 2022). The
    noise and the step stay in the box of valid inputs.

    Args:
        step_size: length of the step as a fraction of the radius.
        noise: size of the noise, as a multiple of the radius.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    step_size: float = 1.0
    noise: float = 2.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_step_size(self.step_size)
        check_label_smoothing(self.label_smoothing)
        if not 0 < self.noise < float("inf"):
            raise InputError(f"expected `noise` > 0, got {self.noise}")

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the step."""
        check_continuous(x)
        threat, bounds = forward.threat, forward.bounds
        # Noise and step together stay within this ball, so that its projection keeps to the box and the rules alone.
        wide = make_threat(**{**as_dict(threat), "eps": (self.noise + self.step_size) * threat.eps})
        # Twice the way to a point of the ball is a point of the ball of twice the radius, in every norm.
        noise = self.noise * (threat.sample(forward.rng, x, _EVERYWHERE) - x)
        start = wide.project(x + noise, x, bounds)
        gradient = forward.input_gradient(start, SummedCrossEntropy(y))
        end = wide.project(wide.ascend(start, gradient, self.step_size * threat.eps, bounds), x, bounds)
        return valid(wide, end, x, forward)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        return cross_entropy_at(forward, perturbed, y, self.label_smoothing)


@objectives.register("grad_align")
@dataclass(frozen=True, kw_only=True)
class GradAlign:
    """Cross entropy after one step from the input, and a penalty on gradients that turn within the ball.

    Andriushchenko & Flammarion, *Understanding and improving fast adversarial training* (NeurIPS 2020). The penalty is
    1 - cos of the gradients of cross entropy at the input and at a random point of the ball: where they agree the loss
    is linear, one step finds its maximum, and catastrophic overfitting stays away. A step costs two
    gradients and their derivatives more than one of `fgsm_rs`. The gradients are taken in the mode of attacks.

    Args:
        weight: weight of the penalty; 0.2 is the paper's for CIFAR-10 at 8/255, larger radii need more.
        step_size: length of the step as a fraction of the radius.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    weight: float = 0.2
    step_size: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_weight("weight", self.weight)
        check_step_size(self.step_size)
        check_label_smoothing(self.label_smoothing)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the step."""
        return ascended(forward, x, SummedCrossEntropy(y), start=x, steps=1, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        here, there = (
            forward.input_gradient(point, SummedCrossEntropy(y), differentiable=True).flatten(1)
            for point in (x, random_point(forward, x))
        )
        # A gradient that is exactly zero has no direction to turn from.
        flat = (here == 0).all(1) | (there == 0).all(1)
        turned = 1 - F.cosine_similarity(here, there, eps=1e-20)
        penalty = torch.where(flat, 0.0, turned).mean()
        end = cross_entropy_at(forward, perturbed, y, self.label_smoothing)
        return TrainingLoss(end.loss + self.weight * penalty, end.logits)
