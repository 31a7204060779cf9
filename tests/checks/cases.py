"""Cases whose figures are known, and models made for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from small_models import linear
from torch import Tensor, nn

from xaibench.checks import Case
from xaibench.classifiers import TorchClassifier
from xaibench.threats import Linf, Threat
from xaibench.types import Classifier

# The logit of class 1 leads by 2 (x0 + x1 - 1): in Linf a sample is |x0 + x1 - 1| / 2 from the border.
PLANE = (torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), torch.tensor([1.0, -1.0]))


class Formula(nn.Module):
    """A function as a module that says what dtype it computes in."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Any:
        return self.formula(x) * self.unit


def formula(function: Callable[[Tensor], Tensor], features: int = 2) -> TorchClassifier:
    """A classifier of ``features`` in [0, 1] whose logits are a function of them."""
    return TorchClassifier(Formula(function), task="tabular", input_shape=(features,))


def two(gap: Tensor) -> Tensor:
    """Logits of two classes, of which class 1 leads by ``gap`` (n,)."""
    return torch.stack([-gap / 2, gap / 2], dim=1)


def plane() -> Classifier:
    return linear(*PLANE)


def along(offsets: Tensor) -> Tensor:
    """Points (n, 2) of class 1 that lie ``offsets`` (n,), in Linf, from the border of `plane`."""
    return 0.5 + offsets[:, None].expand(-1, 2)


def case(
    model: Classifier,
    x: Tensor,
    threat: Threat | None = None,
    *,
    broken: Tensor | None = None,
    attacks: tuple[str, ...] = (),
) -> Case:
    """An evaluation whose labels are the model's own answers; what differs from ``x`` in ``broken`` broke it."""
    adversarials = x if broken is None else broken
    robust = (adversarials == x).flatten(1).all(dim=1)
    return Case(
        model=model,
        x=x,
        y=model.predict(x),
        ids=torch.arange(len(x)),
        threat=threat or Linf(0.1),
        seed=0,
        correct=torch.ones(len(x), dtype=torch.bool),
        robust=robust,
        adversarials=adversarials,
        broken_by=tuple("" if stands else "pgd" for stands in robust.tolist()),
        attacks=attacks,
    )
