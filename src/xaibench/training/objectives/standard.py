"""Objectives without an adversary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.training.objectives.base import CONTINUOUS, Forward, TrainingLoss, objectives
from xaibench.training.objectives.terms import check_label_smoothing, cross_entropy_at
from xaibench.types import Classifier, Task

__all__ = ["Reconstruction", "Standard"]


@objectives.register("standard")
@dataclass(frozen=True, kw_only=True)
class Standard:
    """Cross entropy; with label smoothing as in Szegedy et al. (CVPR 2016)."""

    adversarial: ClassVar[bool] = False
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_label_smoothing(self.label_smoothing)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The inputs as they are."""
        return x

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        return cross_entropy_at(forward, perturbed, y, self.label_smoothing)


@objectives.register("reconstruction")
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Cross entropy of the first output, and ``weight`` times the mean squared error of the second to the input."""

    adversarial: ClassVar[bool] = False
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    weight: float = 10.0
    layer: str = "reconstruction"
    components: int = 32

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The inputs as they are."""
        return x

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        logits, reconstruction = forward(perturbed)[:2]
        if reconstruction.shape != x.shape:
            raise InputError(f"expected a reconstruction of shape {tuple(x.shape)}, got {tuple(reconstruction.shape)}")
        error = F.mse_loss(reconstruction, x)
        return TrainingLoss(F.cross_entropy(logits, y) + self.weight * error, logits)

    def measure(self, model: Classifier, train: Callable[[], Data], test: Data) -> dict[str, float]:
        """Mean squared error per pixel on the test split, beside that of a PCA with as many components as the code."""
        from sklearn.decomposition import PCA

        inputs = train().inputs
        assert isinstance(inputs, Tensor)
        assert isinstance(test.inputs, Tensor)
        with torch.no_grad():
            made = torch.cat([model.activations(part, self.layer) for part in test.inputs.split(500)])
        flat = test.inputs.flatten(1).numpy()
        pca = PCA(self.components, random_state=0).fit(inputs.flatten(1).numpy())
        return {
            "reconstruction_mse": float(F.mse_loss(made, test.inputs)),
            f"pca{self.components}_mse": float(((pca.inverse_transform(pca.transform(flat)) - flat) ** 2).mean()),
        }
