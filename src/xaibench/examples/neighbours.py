"""The samples of a data set that a model sees as most alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.examples.features import layer_features, read_samples
from xaibench.types import Classifier, Inputs

__all__ = ["Distance", "Neighbours", "distances", "nearest_neighbours"]

Distance = Literal["cosine", "euclidean"]
_AT_ONCE = 2**24


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """For each of n samples, the k nearest of a data set, nearest first."""

    index: Tensor
    """(n, k), int64: positions in the data."""
    distance: Tensor
    """(n, k), float64."""
    label: Tensor | None
    """(n, k), int64, of the neighbours, where the data has labels."""
    layer: str | None
    """The layer whose output was compared; None for what enters the last dense layer."""
    metric: Distance

    def agreement(self, classes: Tensor) -> Tensor:
        """Share (n,), float64, of the neighbours that are labelled with ``classes`` (n,), such as the predicted ones.

        A prediction that few of its neighbours share is a doubtful one: Papernot & McDaniel, *Deep k-nearest neighbors:
        towards confident, interpretable and robust deep learning* (2018).
        """
        if self.label is None:
            raise InputError("expected neighbours from labelled data, got data without labels")
        return (self.label == classes.to(self.label)[:, None]).double().mean(dim=1)


def nearest_neighbours(
    model: Classifier,
    inputs: Inputs,
    data: Data | Inputs,
    *,
    layer: str | None = None,
    k: int = 5,
    metric: Distance = "cosine",
) -> Neighbours:
    """The ``k`` samples of ``data`` (m, ...) whose features are nearest to those of ``inputs`` (n, ...).

    Caruana et al., *Case-based explanation of non-case-based learning methods* (AMIA 1999). Features are those of
    `layer_features`; the cosine distance is 1 minus the cosine, and 1 where one of the two is zero. Of equally near
    samples the first ones come first; a sample that is in the data itself is its own nearest neighbour.

    Raises `InputError` unless 1 <= k <= m, and for an unknown layer or metric.

    >>> from xaibench import load_data, load_model
    >>> digits, model = load_data("digits", "train", n=200), load_model("digits-cnn")
    >>> found = nearest_neighbours(model, load_data("digits", "test", n=2).inputs, digits, k=3)
    >>> found.index.shape, bool((found.distance.diff(dim=1) >= 0).all())
    (torch.Size([2, 3]), True)
    """
    x, labels = read_samples(model, data)
    if not 1 <= k <= len(x):
        raise InputError(f"expected 1 <= k <= {len(x)}, the samples of the data, got {k}")
    ours, theirs = layer_features(model, inputs, layer), layer_features(model, x, layer)
    near = [
        _first(distances(part, theirs, metric), k) for part in ours.split(max(1, _AT_ONCE // max(1, theirs.shape[0])))
    ]
    distance, index = (torch.cat(parts) for parts in zip(*near, strict=True))
    label = None if labels is None else labels[index]
    return Neighbours(index=index, distance=distance, label=label, layer=layer, metric=metric)


def distances(a: Tensor, b: Tensor, metric: Distance) -> Tensor:
    """Distances (n, m), float64, between rows (n, d) and (m, d)."""
    a, b = a.double(), b.double()
    if metric == "euclidean":
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    if metric != "cosine":
        raise InputError(f"expected metric 'cosine' or 'euclidean', got {metric!r}")
    unit_a, unit_b = (rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300) for rows in (a, b))
    return (1 - unit_a @ unit_b.T).clamp_min(0)


def _first(distance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    nearest, index = distance.sort(dim=1, stable=True)
    return nearest[:, :k], index[:, :k]
