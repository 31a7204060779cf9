"""Training objectives: what the weights are moved to reduce, written once over torch tensors for every framework."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.registry import Registry
from xaibench.rng import SampleRng
from xaibench.types import Bounds, Classifier

__all__ = ["Forward", "Objective", "Reconstruction", "Standard", "TrainingLoss", "objectives"]


class Forward(Protocol):
    """The network being trained, as one batch of one step sees it; inputs are in input units."""

    @property
    def bounds(self) -> Bounds:
        """The box of valid inputs."""
        ...

    @property
    def progress(self) -> float:
        """Steps begun out of all, in (0, 1]."""
        ...

    @property
    def rng(self) -> SampleRng:
        """Random numbers for the rows of this batch, others in every batch."""
        ...

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """All outputs, logits (n, classes) first, in training mode and differentiable towards the weights."""
        ...

    def input_gradient(self, x: Tensor, loss: Callable[[Tensor], Tensor]) -> Tensor:
        """The gradient towards ``x`` of a scalar ``loss`` of the logits (n, classes).

        It is taken in evaluation mode, so that batch norm neither mixes samples nor learns from these inputs; nothing
        is added to the gradients of the weights.
        """
        ...


class TrainingLoss(NamedTuple):
    """A scalar to reduce, and the logits (n, classes) that it was computed from."""

    loss: Tensor
    logits: Tensor


class Objective(Protocol):
    """A loss over a batch: ``x`` in input units (or token ids), ``y`` (n,) class indices."""

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> TrainingLoss: ...

    def measure(self, model: Classifier, train: Callable[[], Data], test: Data) -> dict[str, float]:
        """Figures of the trained model on the test data beyond those of a classifier; ``train`` loads training data."""
        ...


objectives: Registry[Objective] = Registry("objective")


@objectives.register("standard")
@dataclass(frozen=True, kw_only=True)
class Standard:
    """Cross entropy; with label smoothing as in Szegedy et al. (CVPR 2016)."""

    label_smoothing: float = 0.0

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> TrainingLoss:
        logits = forward(x)[0]
        return TrainingLoss(F.cross_entropy(logits, y, label_smoothing=self.label_smoothing), logits)

    def measure(self, model: Classifier, train: Callable[[], Data], test: Data) -> dict[str, float]:
        """Nothing more."""
        return {}


@objectives.register("reconstruction")
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Cross entropy of the first output, and ``weight`` times the mean squared error of the second to the input."""

    weight: float = 10.0
    layer: str = "reconstruction"
    components: int = 32

    def __call__(self, forward: Forward, x: Tensor, y: Tensor) -> TrainingLoss:
        logits, reconstruction = forward(x)[:2]
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
