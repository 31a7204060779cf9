"""Adversarial training: the loss at the worst inputs near the training data that an attack finds in passing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.threats import Threat, threat
from xaibench.training.objectives import Forward, TrainingLoss, objectives
from xaibench.types import Classifier

__all__ = ["PGDTraining"]


@objectives.register("pgd_at")
@dataclass(frozen=True, kw_only=True)
class PGDTraining:
    """Cross entropy at the end of a projected gradient ascent of it: the model trains on adversarial inputs only.

    Madry et al., *Towards deep learning models resistant to adversarial attacks* (ICLR 2018). With ``steps=1`` and
    ``step_size=1.25`` it is the fast method of Wong, Rice and Kolter, *Fast is better than free: revisiting adversarial
    training* (ICLR 2020).

    Args:
        norm: linf, l2 or l1.
        eps: radius of the ball, in input units.
        steps: gradient steps, at least 1.
        step_size: length of a step as a fraction of the radius; 2.5 / ``steps`` if not given.
        random_start: begin at a random point of the ball, instead of the training input.
        warmup: the fraction of training, in [0, 1), over which the radius grows linearly from zero; large radii need it
            on small networks, which otherwise settle on the same answer for every input.
    """

    norm: Literal["linf", "l2", "l1"] = "linf"
    eps: float
    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.norm.lower() == "l0":
            raise InputError("expected `norm` as linf, l2 or l1, got 'l0', whose ball has no gradual steps")
        threat(self.norm, self.eps)
        if self.steps < 1:
            raise InputError(f"expected `steps` >= 1, got {self.steps}")
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"expected `step_size` > 0, got {self.step_size}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"expected `warmup` >= 0 and < 1, got {self.warmup}")

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        if not x.is_floating_point():
            raise InputError(f"expected inputs of real numbers for adversarial training, got {x.dtype}")
        logits = forward(self._ascended(forward, x, y, self._ball(forward.progress)))[0]
        return TrainingLoss(F.cross_entropy(logits, y), logits)

    def _ball(self, progress: float) -> Threat:
        return threat(self.norm, self.eps * min(1.0, progress / self.warmup) if self.warmup else self.eps)

    def _ascended(self, forward: Forward, x: Tensor, y: Tensor, ball: Threat) -> Tensor:
        def loss(logits: Tensor) -> Tensor:
            return F.cross_entropy(logits, y, reduction="sum")

        size = ball.eps * (2.5 / self.steps if self.step_size is None else self.step_size)
        point = ball.sample(forward.rng, x, forward.bounds) if self.random_start else x
        for _ in range(self.steps):
            gradient = forward.input_gradient(point, loss)
            point = ball.project(ball.ascend(point, gradient, size, forward.bounds), x, forward.bounds)
        return point

    def measure(self, model: Classifier, train: Callable[[], Data], test: Data) -> dict[str, float]:
        """Nothing more: robust accuracy is for an attack that was not trained against to measure."""
        return {}
