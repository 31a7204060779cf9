"""Attacks that follow the input gradient: one step (FGSM) or many (PGD), in any norm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.attacks.base import attack_correct, attacks
from xaibench.errors import InputError, UnsupportedError
from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.types import Capability, Classifier, require

__all__ = ["FGSM", "PGD"]

LossName = Literal["ce", "margin", "dlr"]


@attacks.register("pgd")
@dataclass(frozen=True, kw_only=True)
class PGD:
    """Projected gradient ascent on the loss from random starts in the ball.

    Madry et al., *Towards deep learning models resistant to adversarial attacks* (ICLR 2018); with ``momentum`` the
    iterative method of Dong et al., *Boosting adversarial attacks with momentum* (CVPR 2018). A sample is left alone
    from the moment that it is fooled.

    ``step_size`` is a share of the radius; None is 2.5 / steps, enough to cross the ball from any start. ``restarts``
    counts runs; without ``random_start`` all begin at the clean input, so one is enough. ``batch_size`` bounds the
    memory and nothing else.
    """

    name: ClassVar[str]

    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    momentum: float = 0.0
    loss: LossName = "ce"
    batch_size: int = 256

    def __post_init__(self) -> None:
        for field in ("steps", "restarts", "batch_size"):
            if getattr(self, field) < 1:
                raise InputError(f"expected `{field}` >= 1, got {getattr(self, field)}")
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"expected `step_size` > 0, got {self.step_size}")
        if not self.momentum >= 0:
            raise InputError(f"expected `momentum` >= 0, got {self.momentum}")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        require(model, self.name, Capability.GRADIENTS)

        def search(clean: Tensor, labels: Tensor, rng: SampleRng) -> Tensor:
            result, left = clean.clone(), torch.arange(len(clean), device=clean.device)
            for restart in range(self.restarts):
                start = threat.sample(rng, clean, model.bounds, restart) if self.random_start else clean
                fooled, point = self._run(model, start[left], clean[left], labels[left], threat)
                result[left[fooled]] = point[fooled]
                left = left[~fooled]
                if not len(left):
                    break
            return result

        return attack_correct(
            search, model, x, y, threat, ids=ids, rng_stream=self.name, seed=seed, batch_size=self.batch_size
        )

    def _run(
        self, model: Classifier, start: Tensor, clean: Tensor, labels: Tensor, threat: Threat
    ) -> tuple[Tensor, Tensor]:
        """Which samples a run fools, bool (n,), and the last point of each (n, ...)."""
        size = threat.eps * (2.5 / self.steps if self.step_size is None else self.step_size)
        last, fooled = start.clone(), torch.zeros_like(labels, dtype=torch.bool)
        left, x, velocity = torch.arange(len(start), device=start.device), start, torch.zeros_like(start)
        for _ in range(self.steps):
            _, gradient, logits = model.loss_gradient(x, labels[left], self.loss)
            if not gradient.isfinite().all():
                raise UnsupportedError("a gradient attack needs finite gradients of the model, got NaN or infinity")
            wrong = logits.argmax(dim=1) != labels[left]
            last[left], fooled[left] = x, wrong
            left, x, gradient, velocity = (value[~wrong] for value in (left, x, gradient, velocity))
            if not len(left):
                return fooled, last
            velocity = self.momentum * velocity + _unit_mean(gradient) if self.momentum else gradient
            x = threat.project(threat.ascend(x, velocity, size, model.bounds), clean[left], model.bounds)
        last[left], fooled[left] = x, model.predict(x) != labels[left]
        return fooled, last


@attacks.register("fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM:
    """One step along the gradient, as far as the ball allows: fast gradient sign method, and its like in other norms.

    Goodfellow et al., *Explaining and harnessing adversarial examples* (ICLR 2015).
    """

    name: ClassVar[str]

    random_start: bool = False
    loss: LossName = "ce"
    batch_size: int = 256

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        require(model, self.name, Capability.GRADIENTS)
        single = PGD(steps=1, step_size=1.0, random_start=self.random_start, loss=self.loss, batch_size=self.batch_size)
        return single(model, x, y, threat, ids=ids, seed=seed)


def _unit_mean(gradient: Tensor) -> Tensor:
    """Gradients divided by their mean magnitude per sample, so that those of all steps weigh alike."""
    mean = gradient.abs().flatten(1).mean(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient / mean.view(-1, *[1] * (gradient.ndim - 1))
