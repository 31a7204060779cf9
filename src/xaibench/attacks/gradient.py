"""Attacks that follow the input gradient: one step (FGSM) or many (PGD), in any norm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.attacks.base import attacks, walk_correct
from xaibench.attacks.engine import Answer, Jobs, Problem, Rows, State
from xaibench.errors import InputError
from xaibench.losses import LOSSES, TARGETED
from xaibench.threats import Threat
from xaibench.types import Capability, Classifier, require

__all__ = ["FGSM", "PGD", "LossName", "check_counts", "loss_towards"]

LossName = Literal["ce", "margin", "dlr"]


@attacks.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PGD:
    """Projected gradient ascent on the loss from random starts in the ball.

    Madry et al., *Towards deep learning models resistant to adversarial attacks* (ICLR 2018); with ``momentum`` the
    iterative method of Dong et al., *Boosting adversarial attacks with momentum* (CVPR 2018).

    ``step_size`` is a share of the radius; None is 2.5 / steps, enough to cross the ball from any start. ``restarts``
    counts runs; without ``random_start`` all begin at the clean input, so one is enough. ``targets`` > 0 follows the
    targeted form of the loss towards each of that many likeliest wrong classes; a success is any wrong class. With
    ``batch_size`` None the fastest is found out.
    """

    name: ClassVar[str]

    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    momentum: float = 0.0
    loss: LossName = "ce"
    targets: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "steps", "restarts", "batch_size")
        if self.targets < 0:
            raise InputError(f"expected `targets` >= 0, got {self.targets}")
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"expected `step_size` > 0, got {self.step_size}")
        if not self.momentum >= 0:
            raise InputError(f"expected `momentum` >= 0, got {self.momentum}")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        require(model, self.name, Capability.GRADIENTS)

        def plan(problem: Problem, logits: Tensor) -> tuple[_Ascent, Jobs]:
            if self.targets:
                return _Ascent(self, problem), Jobs.targeted(problem, logits, self.targets, self.restarts)
            return _Ascent(self, problem), Jobs.untargeted(problem, self.restarts)

        return walk_correct(plan, model, x, y, threat, ids=ids, seed=seed, batch_size=self.batch_size)


@dataclass(frozen=True)
class _Ascent:
    """The walk of `PGD`."""

    method: PGD
    problem: Problem
    repeats: ClassVar[int] = 1

    @property
    def steps(self) -> int:
        return self.method.steps

    def loss(self, rows: Rows) -> Callable[[Tensor, Tensor], Tensor]:
        return loss_towards(self.method.loss, rows.targets if self.method.targets else None)

    def begin(self, rows: Rows) -> State:
        threat, bounds = self.problem.threat, self.problem.bounds
        x = rows.clean
        if self.method.random_start:
            x = threat.sample(rows.rng(self.problem.seed, self.method.name), x, bounds, rows.restarts)
        return {"x": x, "velocity": torch.zeros_like(x)} if self.method.momentum else {"x": x}

    def move(self, rows: Rows, state: State, answer: Answer) -> None:
        threat, bounds, method = self.problem.threat, self.problem.bounds, self.method
        assert answer.gradient is not None
        direction = answer.gradient
        if method.momentum:
            direction = state["velocity"] = method.momentum * state["velocity"] + _unit_mean(direction)
        size = threat.eps * (2.5 / method.steps if method.step_size is None else method.step_size)
        state["x"] = threat.project(threat.ascend(state["x"], direction, size, bounds), rows.clean, bounds)


@attacks.register("fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM:
    """One step along the gradient, as far as the ball allows: fast gradient sign method, and its like in other norms.

    Goodfellow et al., *Explaining and harnessing adversarial examples* (ICLR 2015).
    """

    name: ClassVar[str]

    random_start: bool = False
    loss: LossName = "ce"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "batch_size")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        require(model, self.name, Capability.GRADIENTS)
        single = PGD(steps=1, step_size=1.0, random_start=self.random_start, loss=self.loss, batch_size=self.batch_size)
        return single(model, x, y, threat, ids=ids, seed=seed)


def check_counts(method: object, *fields: str) -> None:
    """Raise `InputError` for a field that counts something and is below 1; None is left alone."""
    for field in fields:
        value = getattr(method, field)
        if value is not None and value < 1:
            raise InputError(f"expected `{field}` >= 1, got {value}")


def loss_towards(name: str, targets: Tensor | None) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss of this name, in its targeted form if there are ``targets`` (n,)."""
    return LOSSES[name] if targets is None else lambda logits, y: TARGETED[name](logits, y, targets)


def _unit_mean(gradient: Tensor) -> Tensor:
    """Gradients divided by their mean magnitude per sample, so that those of all steps weigh alike."""
    mean = gradient.abs().flatten(1).mean(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / mean.view(-1, *[1] * (gradient.ndim - 1))
