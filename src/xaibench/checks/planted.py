"""A check with known answers: adversarial points are planted, and have to be found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.engine import Problem
from xaibench.checks.base import Case, Outcome, Status, checks
from xaibench.checks.trace import check_ball, climb
from xaibench.errors import UnsupportedError
from xaibench.rng import SampleRng
from xaibench.types import Capability, LossGradient, require

__all__ = ["PlantedAdversarials"]


@checks.register("planted_adversarials")
@dataclass(frozen=True, kw_only=True)
class PlantedAdversarials:
    """Whether an ascent finds adversarial points that are there by construction.

    The binarisation test of Zimmermann et al., *Increasing confidence in adversarial robustness evaluations* (NeurIPS
    2022). On top of the model, each sample gets a binary classifier of its own, linear in the logits: the sample and
    ``inner`` points around it, at half the radius, are on its one side, and one of ``inner`` points at the edge of the
    ball on the other. Such a point exists, so an attack of ``steps`` steps should find one. The figure is the share of
    samples where it does.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = True
    floor: ClassVar[bool] = True

    samples: int = 32
    inner: int = 50
    steps: int = 30
    restarts: int = 2
    limit: float = 0.95
    grave: float = 0.8

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        require(case.model, self.name, Capability.GRADIENTS)
        check_ball(case)
        problem = case.problem(case.some(case.correct, self.samples))
        heads = _plant(case, problem, self.inner)
        if not bool(heads.planted.any()):
            raise UnsupportedError("no point could be planted, for the logits do not change within the ball")

        def loss(logits: Tensor, _: Tensor) -> Tensor:
            return heads(logits).to(logits.dtype)

        def ask(x: Tensor) -> LossGradient:
            return case.model.loss_gradient(x, problem.y, loss)

        found = torch.zeros_like(heads.planted)
        for restart in range(self.restarts):
            found |= climb(problem, ask, steps=self.steps, restart=restart)[1] > 0
        figure = float(found[heads.planted].double().mean())
        status: Status = "pass" if figure >= self.limit else "warning" if figure >= self.grave else "fail"
        return Outcome(
            check=self.name,
            status=status,
            figure=figure,
            limit=self.limit,
            advice="Attacks find adversarial points where there are some for sure."
            if status == "pass"
            else "Attacks miss adversarial points that are there for sure, and so may have missed others.",
        )


@dataclass(frozen=True)
class _Heads:
    """A linear function of the logits for each sample, positive on a planted point and negative around the sample."""

    weight: Tensor
    bias: Tensor
    planted: Tensor
    """(n,) bool: where this could be done."""

    def __call__(self, logits: Tensor) -> Tensor:
        """(n,) from logits (n, classes), in float64."""
        return (logits.double() * self.weight).sum(dim=1) + self.bias


def _plant(case: Case, problem: Problem, count: int) -> _Heads:
    threat, x = problem.threat, problem.x
    rng = SampleRng(problem.ids, seed=case.seed, stream="checks/planted")

    def drawn(stretch: float, first: int) -> Tensor:
        """Logits (n, count, classes) of points at ``stretch`` of the radius, but for what the box cuts off."""
        logits = []
        for draw in range(first, first + count):
            offset = threat.sample(rng, x, problem.bounds, draw) - x
            size = threat.distance(x + offset, x).clamp_min(1e-12).to(x)
            offset = offset * (stretch * threat.eps / size).view(-1, *[1] * (x.ndim - 1))
            logits.append(case.logits(threat.project(x + offset, x, problem.bounds)).double())
        return torch.stack(logits, dim=1)

    clean = case.logits(x).double()[:, None]
    inside = torch.cat([clean, drawn(0.5, 0)], dim=1)
    edge = drawn(1.0, count)
    centre = inside.mean(dim=1, keepdim=True)
    spread = inside - centre
    covariance = spread.transpose(1, 2) @ spread / inside.shape[1]
    ridge = 1e-3 * covariance.diagonal(dim1=1, dim2=2).mean(dim=1).clamp_min(1e-300)
    whitening = covariance + ridge[:, None, None] * torch.eye(clean.shape[2], device=x.device, dtype=torch.float64)
    weights = torch.linalg.solve(whitening, (edge - centre).transpose(1, 2))  # (n, classes, count), Fisher's direction
    highest = (inside @ weights).amax(dim=1)
    reached = (edge.transpose(1, 2) * weights).sum(dim=1)
    gap = (reached - highest) / weights.norm(dim=1).clamp_min(1e-300)
    best = gap.argmax(dim=1)
    row = torch.arange(len(x), device=x.device)
    threshold = (highest[row, best] + reached[row, best]) / 2
    # Float32 rounding of the logits is no planted point.
    planted = gap[row, best] > 1e-5 * clean.abs().amax(dim=(1, 2))
    scale = (reached - highest)[row, best].clamp_min(1e-300)
    return _Heads(weights[row, :, best] / scale[:, None], -threshold / scale, planted)
