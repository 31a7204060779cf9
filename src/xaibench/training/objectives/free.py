"""Adversarial training whose perturbation comes from the backward pass that the weights need anyway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.training.objectives.ascent import check_step_size, valid
from xaibench.training.objectives.base import CONTINUOUS, Forward, TrainingLoss, objectives
from xaibench.training.objectives.terms import check_continuous, check_label_smoothing, cross_entropy_at
from xaibench.types import Bounds, Task

__all__ = ["FreeTraining"]

_MEMORY = "free.perturbation"

_NO_BOX = Bounds(-1e30, 1e30)


@objectives.register("free")
@dataclass(frozen=True, kw_only=True)
class FreeTraining:
    """Cross entropy at a perturbation that moves with the weights: ``replays`` steps of both on each batch.

    Shafahi et al., *Adversarial training for free!* (NeurIPS 2019). Each backward pass moves the weights down and the
    perturbation up, in training mode; a batch begins with the perturbation that the one before ended with. That is kept
    within the ball alone: what the box cuts off one batch's inputs is there for the next. An epoch takes ``replays``
    times as long as a standard one: divide the recipe's epochs by that.

    Args:
        replays: steps on each batch, at least 1.
        step_size: length of a step of the perturbation as a fraction of the radius.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    replays: int = 8
    step_size: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.replays < 1:
            raise InputError(f"expected `replays` >= 1, got {self.replays}")
        check_step_size(self.step_size)
        check_label_smoothing(self.label_smoothing)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The inputs moved by the perturbation so far, which is none at first."""
        check_continuous(x)
        point = forward.threat.project(x + _kept(forward, x), x, forward.bounds)
        return valid(forward.threat, point, x, forward)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`; the perturbation moves when the backward pass through this loss comes to the inputs."""
        threat, bounds, memory = forward.threat, forward.bounds, forward.memory
        leaf, kept = perturbed.detach().requires_grad_(), _kept(forward, x)

        def ascend(gradient: Tensor) -> None:
            # Half precision may overflow in a step that its scaler then skips.
            raised = threat.ascend(perturbed, gradient.nan_to_num(), self.step_size * threat.eps, bounds)
            moved = x + kept + (raised - perturbed)
            memory[_MEMORY] = (threat.project(moved, x, _NO_BOX) - x).detach()

        leaf.register_hook(ascend)
        return cross_entropy_at(forward, leaf, y, self.label_smoothing)


def _kept(forward: Forward, x: Tensor) -> Tensor:
    """The perturbation so far, for as many inputs as ``x`` (n, ...) has; none where it was of fewer or of others."""
    kept = forward.memory.get(_MEMORY)
    if kept is None or kept.shape[1:] != x.shape[1:] or len(kept) < len(x):
        return torch.zeros_like(x)
    return kept[: len(x)].to(x)
