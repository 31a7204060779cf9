"""Explainers that take one gradient at the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import TargetLogit, Targets, explainers
from xaibench.types import Classifier, Inputs

__all__ = ["InputXGradient", "Saliency"]


@explainers.register("saliency")
@dataclass(frozen=True, kw_only=True)
class Saliency:
    """The gradient of the logit: how much it reacts to a small change of each feature.

    Simonyan et al., *Deep inside convolutional networks: visualising image classification models and saliency maps*
    (2013). ``absolute`` gives magnitudes; without it values keep their sign.
    """

    name: ClassVar[str]

    absolute: bool = True
    batch_size: int = 256

    def __post_init__(self) -> None:
        _check_batch_size(self.batch_size)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        gradient = _input_gradient(logit, logit.embed(logit.x), self.batch_size)
        return logit.attribution(gradient.abs() if self.absolute else gradient, seed=seed)


@explainers.register("input_x_gradient")
@dataclass(frozen=True, kw_only=True)
class InputXGradient:
    """Input times gradient: each feature's part in the linearised logit.

    Shrikumar et al., *Not just a black box: learning important features through propagating activation differences*
    (2016). For text, embeddings take the place of inputs.
    """

    name: ClassVar[str]

    batch_size: int = 256

    def __post_init__(self) -> None:
        _check_batch_size(self.batch_size)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        point = logit.embed(logit.x)
        return logit.attribution(point * _input_gradient(logit, point, self.batch_size), seed=seed)


def _input_gradient(logit: TargetLogit, point: Tensor, batch_size: int) -> Tensor:
    rows = torch.arange(len(point), device=point.device).split(batch_size)
    return torch.cat([logit.gradient(part, point[part]) for part in rows])


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise InputError(f"expected `batch_size` >= 1, got {batch_size}")
