"""Which training samples speak for and against a prediction, traced over the checkpoints of a training run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xaibench.classifiers.heads import head_of
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.examples.features import read_samples
from xaibench.explainers.budget import points_at_once
from xaibench.types import Classifier, Inputs
from xaibench.zoo import load_model

__all__ = ["Checkpoint", "Influence", "kept_checkpoints", "self_influence", "tracin"]


@dataclass(frozen=True)
class Checkpoint:
    """A model as it was at some time of its training, and the learning rate of the steps around it."""

    model: Classifier
    learning_rate: float

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(f"expected a learning rate > 0, got {self.learning_rate}")


def kept_checkpoints(folder: Path | str, every: int = 1) -> tuple[Checkpoint, ...]:
    """The checkpoints of a model folder that was trained with ``keep_checkpoints=True``, in order of training.

    ``every`` 3 takes each third one, counted back from the last. Raises `InputError` for a folder without checkpoints.
    """
    if every < 1:
        raise InputError(f"expected `every` >= 1, got {every}")
    folders = sorted(path.parent for path in Path(folder).glob("checkpoints/*/checkpoint.json"))
    if not folders:
        raise InputError(f"expected a model folder trained with keep_checkpoints, got none in {folder}")
    rates = {path: json.loads((path / "checkpoint.json").read_text(encoding="utf-8")) for path in folders}
    return tuple(
        Checkpoint(load_model(path), float(rates[path]["learning_rate"])) for path in folders[::-1][::every][::-1]
    )


@dataclass(frozen=True, kw_only=True)
class Influence:
    """How much each training sample lowered the loss of each test sample: its proponents, if it did."""

    scores: Tensor
    """(tests, train), float64: positive for proponents, negative for opponents."""
    layers: tuple[str, ...]
    """The layer of each checkpoint whose weights count: its last dense one, with its bias."""

    def proponents(self, k: int = 5) -> Tensor:
        """(tests, k), int64: the training samples of the largest scores, largest first."""
        return self._ordered(k, descending=True)

    def opponents(self, k: int = 5) -> Tensor:
        """(tests, k), int64: the training samples of the smallest scores, smallest first."""
        return self._ordered(k, descending=False)

    def _ordered(self, k: int, *, descending: bool) -> Tensor:
        if not 1 <= k <= self.scores.shape[1]:
            raise InputError(f"expected 1 <= k <= {self.scores.shape[1]}, the training samples, got {k}")
        return self.scores.argsort(dim=1, descending=descending, stable=True)[:, :k]


def tracin(
    checkpoints: Sequence[Checkpoint],
    train: Data,
    inputs: Data | Inputs,
    labels: Tensor | None = None,
) -> Influence:
    """The influence of each sample of ``train`` (m, ...) on the loss of each of ``inputs`` (n, ...).

    TracIn-CP of Pruthi et al., *Estimating training data influence by tracing gradient descent* (NeurIPS 2020): the sum
    over checkpoints of the learning rate times the dot product of the two samples' gradients of the cross-entropy. The
    gradients are those with respect to weights and bias of the last dense layer alone: the outer products of the error
    of the probabilities and the features that enter the layer, so that their dot products need no gradient to be kept.
    What other layers learnt from a sample does not count. Up to first order a score is the loss that the sample took
    away whenever a step of plain gradient descent used it.

    ``labels`` (n,) are the classes whose loss is traced, by default the data's own, else those predicted at the last
    checkpoint. Raises `InputError` for labels that do not fit or no checkpoints, and `UnsupportedError` for a model
    without a last dense layer.

    >>> from xaibench import load_data, load_model
    >>> run = [Checkpoint(load_model("digits-cnn"), learning_rate=0.01)]
    >>> found = tracin(run, load_data("digits", "train", n=100), load_data("digits", "test", n=3))
    >>> found.scores.shape, found.proponents(2).shape, found.layers
    (torch.Size([3, 100]), torch.Size([3, 2]), ('head',))
    """
    _check(checkpoints)
    last = checkpoints[-1].model
    x, own = read_samples(last, inputs)
    y = _labels(last, x, own if labels is None else labels)
    total, layers = torch.zeros(len(x), len(train), dtype=torch.float64, device=last.device), []
    for checkpoint in checkpoints:
        samples, theirs = read_samples(checkpoint.model, train)
        assert theirs is not None
        error, features, layer = _gradient_factors(checkpoint.model, x, y)
        their_error, their_features, _ = _gradient_factors(checkpoint.model, samples, theirs)
        total += checkpoint.learning_rate * (error @ their_error.T) * (features @ their_features.T)
        layers.append(layer)
    return Influence(scores=total, layers=tuple(layers))


def self_influence(checkpoints: Sequence[Checkpoint], data: Data) -> Tensor:
    """The influence (n,), float64, of each sample on its own loss: large for the mislabelled and the unusual.

    The diagonal of `tracin` on the data itself, without the other scores. Pruthi et al. (NeurIPS 2020) find wrong
    labels so.

    >>> from xaibench import load_data, load_model
    >>> run = [Checkpoint(load_model("digits-cnn"), learning_rate=0.01)]
    >>> bool((self_influence(run, load_data("digits", "train", n=50)) >= 0).all())
    True
    """
    _check(checkpoints)
    total = torch.zeros(len(data), dtype=torch.float64, device=checkpoints[-1].model.device)
    for checkpoint in checkpoints:
        x, y = read_samples(checkpoint.model, data)
        assert y is not None
        error, features, _ = _gradient_factors(checkpoint.model, x, _labels(checkpoint.model, x, y))
        total += checkpoint.learning_rate * error.square().sum(dim=1) * features.square().sum(dim=1)
    return total


def _gradient_factors(model: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, str]:
    """The two factors of each sample's gradient, float64: errors (n, units) and features (n, d), 1 for the bias too."""
    errors, features, layer = [], [], ""
    for rows in torch.arange(len(x), device=x.device).split(points_at_once(model, x, backward=False)):
        head = head_of(model, x[rows])
        wanted = torch.nn.functional.one_hot(y[rows], head.logits.shape[1])
        error = head.logits.double().softmax(dim=1) - wanted
        errors.append(error[:, 1:] if head.units == 1 else error)
        inner = head.features.double()
        features.append(torch.cat([inner, inner.new_ones(len(inner), 1)], dim=1) if head.has_bias else inner)
        layer = head.layer
    return torch.cat(errors), torch.cat(features), layer


def _check(checkpoints: Sequence[Checkpoint]) -> None:
    if not checkpoints:
        raise InputError("expected at least one checkpoint, got none")
    if odd := next((type(one).__name__ for one in checkpoints if not isinstance(one, Checkpoint)), None):
        raise InputError(f"expected checkpoints as Checkpoint(model, learning_rate), got {odd}")


def _labels(model: Classifier, x: Tensor, labels: Tensor | None) -> Tensor:
    if labels is None:
        return torch.cat([model.predict(part) for part in x.split(points_at_once(model, x, backward=False))])
    if labels.shape != (len(x),) or labels.dtype not in (torch.int32, torch.int64):
        raise InputError(f"expected labels as {len(x)} class indices, got {labels.dtype} {tuple(labels.shape)}")
    if int(labels.min()) < 0 or int(labels.max()) >= model.num_classes:
        raise InputError(f"expected labels in 0..{model.num_classes - 1}, got {int(labels.min())}..{int(labels.max())}")
    return labels.to(model.device, torch.int64)
