"""Objectives for models that change slowly: a penalty on input gradients, and normal noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.certify import Smoothing
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.training.objectives.ascent import SummedCrossEntropy
from xaibench.training.objectives.base import CONTINUOUS, Forward, TrainingLoss, objectives
from xaibench.training.objectives.terms import check_continuous, check_label_smoothing, check_weight, cross_entropy_at
from xaibench.types import Classifier, Task

__all__ = ["GaussianNoise", "InputGradientPenalty"]

_MEASURED = 100


@objectives.register("input_gradient_penalty")
@dataclass(frozen=True, kw_only=True)
class InputGradientPenalty:
    """Cross entropy, and the squared length of its gradient towards the input, for inputs scaled to a unit box.

    Ross & Doshi-Velez, *Improving the adversarial robustness and interpretability of deep neural networks by
    regularizing their input gradients* (AAAI 2018). The gradient is taken in the mode of attacks. Without an attack in
    training it asks for no threat, and gives less robustness than adversarial training.

    Args:
        weight: weight of the penalty, a mean over the batch as the cross entropy is.
    """

    adversarial: ClassVar[bool] = False
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_weight("weight", self.weight)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The inputs as they are."""
        check_continuous(x)
        return x

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        low, high = forward.bounds.tensors(x)
        gradient = forward.input_gradient(perturbed, SummedCrossEntropy(y), differentiable=True) * (high - low)
        plain = cross_entropy_at(forward, perturbed, y, 0.0)
        return TrainingLoss(plain.loss + self.weight * gradient.flatten(1).square().sum(1).mean(), plain.logits)


@objectives.register("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise:
    """Cross entropy under normal noise, not clipped to the box: what randomised smoothing needs of a model.

    Cohen, Rosenfeld & Kolter, *Certified adversarial robustness via randomized smoothing* (ICML 2019). The robustness
    is that of the smoothed model, see `xaibench.certify.Smoothing`, with the same ``sigma``; the model itself gains
    little.

    Args:
        sigma: standard deviation of the noise, in input units.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = False
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    sigma: float = 0.25
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise InputError(f"expected `sigma` > 0, got {self.sigma}")
        check_label_smoothing(self.label_smoothing)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The inputs and noise."""
        check_continuous(x)
        return x + self.sigma * forward.rng.normal(tuple(x.shape[1:])).to(x)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        return cross_entropy_at(forward, perturbed, y, self.label_smoothing)

    def measure(self, model: Classifier, train: Callable[[], Data], test: Data) -> dict[str, float]:
        """Of the smoothed model on the first 100 test inputs: certified accuracy, and mean certified l2 radius.

        Accuracy counts answers that are right and certified at all; the radius is 0 for all others.
        """
        part = test.take(range(min(len(test), _MEASURED)))
        assert isinstance(part.inputs, Tensor)
        found = Smoothing(sigma=self.sigma, n=1000)(model, part.inputs)
        right = found.certified(part.labels, 0.0)
        return {
            "smoothed_accuracy": float(right.double().mean()),
            "smoothed_radius": float((found.radius * right.to(found.radius)).mean()),
        }
