"""Explainers that take one gradient at the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.target import TargetLogit
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

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        gradient = logit.gradients(logit.embed(logit.x))
        return logit.attribution(gradient.abs() if self.absolute else gradient, seed=seed)


@explainers.register("input_x_gradient")
@dataclass(frozen=True, kw_only=True)
class InputXGradient:
    """Input times gradient: each feature's part in the linearised logit.

    Shrikumar et al., *Not just a black box: learning important features through propagating activation differences*
    (2016). For text, embeddings take the place of inputs.
    """

    name: ClassVar[str]

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        point = logit.embed(logit.x)
        return logit.attribution(point * logit.gradients(point), seed=seed)
