"""A check by way of a smooth copy of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.checks.base import Case, Outcome, checks
from xaibench.checks.trace import check_ball, climb
from xaibench.errors import UnsupportedError
from xaibench.losses import margin
from xaibench.rng import SampleRng
from xaibench.types import Capability, LossGradient, require

__all__ = ["TransferFailure"]


@checks.register("transfer_failure")
@dataclass(frozen=True, kw_only=True)
class TransferFailure:
    """Whether points that fool a smoothed copy of the model fail to fool the model itself.

    Pintor et al., *Indicators of attack failure* (NeurIPS 2022). The copy averages logits over ``draws`` of noise,
    the same for all inputs and uniform within +-``radius`` of the box. The figure is the share of Auto-PGD's successes
    on the copy that are none on the model.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = True

    samples: int = 32
    draws: int = 8
    radius: float = 4 / 255
    steps: int = 20
    least: int = 4
    limit: float = 0.25

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        require(case.model, self.name, Capability.GRADIENTS)
        check_ball(case)
        part = case.problem(case.some(case.correct, self.samples))
        low, high = part.bounds.tensors(part.x)
        rng = SampleRng(torch.arange(self.draws, device=part.x.device), seed=case.seed, stream=self.name)
        noise = rng.uniform(tuple(part.x.shape[1:]), low=-self.radius, high=self.radius).to(part.x) * (high - low)

        def ask(x: Tensor) -> LossGradient:
            with torch.enable_grad():
                point = x.detach().requires_grad_()
                logits = torch.stack([case.model.logits(part.bounds.clip(point + shift)) for shift in noise]).mean(
                    dim=0
                )
                losses = margin(logits, part.y)
                gradient = torch.autograd.grad(losses.sum(), point)[0]
            return LossGradient(losses.detach(), gradient, logits.detach())

        found, reached = climb(part, ask, steps=self.steps)
        fooled = reached > 0
        if int(fooled.sum()) < self.least:
            raise UnsupportedError(f"fewer than {self.least} points fool a smoothed copy")
        figure = float((case.logits(found[fooled]).argmax(dim=1) == part.y[fooled]).double().mean())
        fired = figure > self.limit
        return Outcome(
            check=self.name,
            status="warning" if fired else "pass",
            figure=figure,
            limit=self.limit,
            advice="What fools a smoothed copy often spares the model: its surface hides adversarial points nearby."
            if fired
            else "What fools a smoothed copy fools the model.",
        )
