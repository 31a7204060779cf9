"""What a counterfactual has to reach: another decision, and by how much it is missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.base import Targets
from xaibench.explainers.budget import points_at_once
from xaibench.explainers.reading import read_targets
from xaibench.losses import margin, margin_targeted
from xaibench.types import Classifier

__all__ = ["Goal"]

_HAIR = 1e-4


@dataclass(frozen=True)
class Goal:
    """Another decision for each of n samples: the class asked for, or any but the present one.

    A decision counts where its logit leads by more than a hair, 1e-4 of the largest logit, so that it survives the
    rounding of other batches.
    """

    model: Classifier
    labels: Tensor
    """(n,), int64: the present decisions."""
    targets: Tensor | None
    """(n,), int64: the classes asked for; None for any other."""

    @classmethod
    def of(cls, model: Classifier, x: Tensor, targets: Targets) -> Goal:
        """The goal for inputs ``x`` (n, ...); targets that do not fit raise `InputError`."""
        if model.num_classes < 2:
            raise InputError(f"expected a model of at least 2 classes, got {model.num_classes}")
        labels = torch.cat([model.predict(part) for part in x.split(points_at_once(model, x, backward=False))])
        if targets is None:
            return cls(model, labels, None)
        return cls(model, labels, read_targets(targets, len(x), model.num_classes).to(labels))

    def lead(self, x: Tensor, rows: Tensor) -> Tensor:
        """By how much (m,), float64, the goals of samples ``rows`` (m,) lead at ``x`` (m, ...): above 0 if reached."""
        found = []
        for part in torch.arange(len(x), device=x.device).split(points_at_once(self.model, x, backward=False)):
            with torch.no_grad():
                logits = self.model.logits(x[part])
            found.append(self._lead(logits, rows[part]))
        return torch.cat(found) if found else x.new_zeros(0, dtype=torch.float64)

    def aims(self, x: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Pairs of a sample and a class to go for, (j,) each: the class asked for, or the ``most`` likeliest others."""
        rows = torch.arange(len(x), device=x.device)
        if self.targets is not None:
            return rows, self.targets
        with torch.no_grad():
            logits = torch.cat([self.model.logits(p) for p in x.split(points_at_once(self.model, x, backward=False))])
        others = logits.scatter(1, self.labels[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        classes = others[:, : min(most, logits.shape[1] - 1)]
        return rows.repeat_interleave(classes.shape[1]), classes.flatten()

    def slope(self, x: Tensor, rows: Tensor, aims: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the lead of classes ``aims`` (m,), less the hair: value (m,), gradient (m, ...); the goals' lead (m,)."""
        values, gradients, leads = [], [], []
        for part in torch.arange(len(x), device=x.device).split(points_at_once(self.model, x, backward=True)):
            some = rows[part]
            found = self.model.loss_gradient(x[part], self.labels[some], self._towards(aims[part]))
            if not bool(found.gradient.isfinite().all()):
                raise UnsupportedError("a counterfactual needs finite gradients, got NaN or infinity")
            lead = self._lead(found.logits, some)
            values.append(found.loss.double() - _hair(found.logits))
            gradients.append(found.gradient)
            leads.append(lead)
        return torch.cat(values), torch.cat(gradients), torch.cat(leads)

    def _towards(self, aims: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        if self.targets is not None:
            return lambda logits, _labels: -margin(logits, aims)
        return lambda logits, labels: margin_targeted(logits, labels, aims)

    def _lead(self, logits: Tensor, rows: Tensor) -> Tensor:
        logits = logits.double()
        if self.targets is not None:
            return -margin(logits, self.targets[rows]) - _hair(logits)
        return margin(logits, self.labels[rows]) - _hair(logits)


def _hair(logits: Tensor) -> Tensor:
    return _HAIR * logits.double().abs().amax(dim=1).clamp_min(1)
