"""Checks of the gradient itself: there, steady, and the derivative of what the model computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.checks.base import Case, Outcome, Status, checks, graded
from xaibench.classifiers import TorchClassifier
from xaibench.errors import UnsupportedError
from xaibench.losses import margin
from xaibench.rng import SampleRng
from xaibench.types import Capability, Classifier, require

__all__ = ["FiniteDifferences", "UnstableGradients", "ZeroGradients"]


@checks.register("zero_gradients")
@dataclass(frozen=True, kw_only=True)
class ZeroGradients:
    """Whether the input gradient of a loss is exactly zero for any correctly classified point.

    Carlini et al., *On evaluating adversarial robustness* (2019). The figure is the share of such points. Where the
    margin has a gradient and only the cross-entropy has none, attacks on the margin still work: a warning, as it is for
    a few points, up to the share ``grave``.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 32
    limit: float = 0.0
    grave: float = 0.1

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        if reason := case.model.limits.get(Capability.GRADIENTS):
            advice = f"No gradient attack could be made, query attacks alone, for the model has no gradients: {reason}."
            return Outcome(check=self.name, status="warning", figure=None, limit=self.limit, advice=advice)
        rows = case.some(case.correct, self.samples)
        x, y = case.x[rows], case.y[rows]
        flat = {loss: _useless(_gradient(case.model, x, y, loss)).double().mean() for loss in ("ce", "margin")}
        figure = float(torch.maximum(flat["ce"], flat["margin"]))
        status = graded(float(flat["margin"]), self.limit, self.grave)
        if status != "pass":
            advice = "Gradients vanish, so attacks that follow them are blind: attack a smooth copy of the model."
        elif flat["ce"] > self.limit:
            status, advice = "warning", "The cross-entropy saturates: count only attacks on logits (margin, DLR)."
        else:
            advice = "Every point looked at has a gradient."
        return Outcome(check=self.name, status=status, figure=figure, limit=self.limit, advice=advice)


@checks.register("unstable_gradients")
@dataclass(frozen=True, kw_only=True)
class UnstableGradients:
    """Whether the loss jumps under noise too small to matter.

    Pintor et al., *Indicators of attack failure* (NeurIPS 2022). The figure is the mean of abs(loss(x + d) - loss(x))
    over ``draws`` of d, uniform within +-``radius`` of the box, divided by the mean of abs(loss(x)), at correctly
    classified points x. Of a ratio for each point, the one nearest to the border would decide the mean. The loss is the
    margin, for the cross-entropy of a confident model is next to 0.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 8
    draws: int = 100
    radius: float = 4 / 255
    limit: float = 0.10

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        _check_numeric(case)
        rows = case.some(case.correct, self.samples)
        x, y = case.x[rows], case.y[rows]
        low, high = case.model.bounds.tensors(x)
        rng = SampleRng(case.ids[rows], seed=case.seed, stream=self.name)
        clean = margin(case.logits(x), y)
        change = torch.zeros_like(clean)
        for draw in range(self.draws):
            noise = rng.uniform(tuple(x.shape[1:]), draw, low=-self.radius, high=self.radius).to(x) * (high - low)
            change += (margin(case.logits(case.model.bounds.clip(x + noise)), y) - clean).abs()
        figure = float(change.mean() / self.draws / clean.abs().mean().clamp_min(1e-12))
        fired = figure > self.limit
        return Outcome(
            check=self.name,
            status="warning" if fired else "pass",
            figure=figure,
            limit=self.limit,
            advice="The loss jumps under tiny noise, so a gradient says little: average it over noise (EOT)."
            if fired
            else "The loss is steady under tiny noise.",
        )


@checks.register("finite_differences")
@dataclass(frozen=True, kw_only=True)
class FiniteDifferences:
    """Whether the gradient is the derivative of the margin.

    The figure is the mean cosine, over points, between the slopes along ``directions`` random diagonals of the box by
    the gradient and by central differences; in float64 where the model can be had in it. ``grave`` and below is a
    failure, but for models that are flat where the gradient is not: these are piecewise constant, and their gradient is
    a stand-in for one, which may serve an attack well.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False
    floor: ClassVar[bool] = True

    samples: int = 8
    directions: int = 16
    limit: float = 0.99
    grave: float = 0.5

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        require(case.model, self.name, Capability.GRADIENTS)
        _check_numeric(case)
        rows = case.some(case.correct, self.samples)
        model = _in_double(case.model, case.x[rows])
        by_gradient, by_difference, blur = self._slopes(model, case, rows)
        agree = torch.cosine_similarity(by_gradient, by_difference, dim=1, eps=1e-30)
        lost = torch.maximum(by_gradient.abs().amax(dim=1), by_difference.abs().amax(dim=1)) <= blur
        figure = float(torch.where(lost, 1.0, agree).mean())
        status: Status
        flat = bool((by_difference == 0).all())
        if figure >= self.limit:
            status, advice = "pass", "The gradient agrees with finite differences."
        elif flat:
            status, advice = "warning", "The model is piecewise constant, its gradient a stand-in: try query attacks."
        else:
            status = "fail" if figure <= self.grave else "warning"
            advice = "The gradient is not the derivative of the model: look for custom or detached operations."
        return Outcome(check=self.name, status=status, figure=figure, limit=self.limit, advice=advice)

    def _slopes(self, model: Classifier, case: Case, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Along the diagonals (k, directions), by the gradient and by differences; and what rounding blurs (k,)."""
        logits = model.logits(case.x[rows])
        x, y = case.x[rows].to(logits.dtype), case.y[rows]
        rng = SampleRng(case.ids[rows], seed=case.seed, stream=self.name)
        # Small enough to cross few kinks of piecewise linear nets, which have no curvature that it would balance.
        h = 3 * torch.finfo(x.dtype).eps ** 0.5
        low, high = model.bounds.tensors(x)
        reach = h * (high - low)
        # All within the box, at whose edge a model may well stop.
        x = torch.minimum(torch.maximum(x, low + reach), high - reach)
        gradient = _gradient(model, x, y, "margin").to(x)
        slopes, differences = [], []
        for direction in range(self.directions):
            move = reach * rng.bits(tuple(x.shape[1:]), direction).sign().to(x)
            above, below = (margin(model.logits(point), y) for point in (x + move, x - move))
            slopes.append((move.flatten(1) * gradient).sum(dim=1) / h)
            differences.append((above - below) / (2 * h))
        blur = 20 * torch.finfo(x.dtype).eps / h * logits.abs().amax(dim=1)
        return torch.stack(slopes, dim=1).double(), torch.stack(differences, dim=1).double(), blur.double()


def _useless(gradient: Tensor) -> Tensor:
    """Which rows (n, features) are all zero, or hold what is no number: bool (n,)."""
    return (gradient == 0).all(dim=1) | ~gradient.isfinite().all(dim=1)


def _gradient(model: Classifier, x: Tensor, y: Tensor, loss: str) -> Tensor:
    """(n, features)."""
    return model.loss_gradient(x, y, loss).gradient.flatten(1)


def _check_numeric(case: Case) -> None:
    if case.model.task == "text":
        raise UnsupportedError("it moves numbers a little, and token ids are names")


def _in_double(model: Classifier, x: Tensor) -> Classifier:
    """A copy that computes in float64, or the model itself where there is none."""
    if not isinstance(model, TorchClassifier):
        return model
    try:
        twin = model.double()
        twin.loss_gradient(x, twin.predict(x))
    except (RuntimeError, TypeError):  # a dtype is written into the model's code, or it cannot be copied
        return model
    return twin
