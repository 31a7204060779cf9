"""Samples as a layer of a model sees them: the space in which examples are near or far."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.classifiers.heads import head_of
from xaibench.data import Data
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.budget import points_at_once
from xaibench.types import Classifier, Inputs

__all__ = ["INPUTS", "layer_features", "read_samples"]

INPUTS = "inputs"
"""The name, in place of a layer's, of the inputs themselves."""


def layer_features(model: Classifier, inputs: Inputs, layer: str | None = None) -> Tensor:
    """Samples as rows (n, d), float32: the output of a layer, flattened.

    By default it is what enters the last dense layer, in which the classes are linear. ``"inputs"`` takes the inputs
    themselves, those of a table in shares of their ranges. Raises `InputError` for a layer that the model does not
    have, and `UnsupportedError` where no last dense layer is found: a layer has to be named then.

    >>> from xaibench import load_data, load_model
    >>> layer_features(load_model("digits-cnn"), load_data("digits", n=5).inputs).shape
    torch.Size([5, 64])
    """
    x = read_samples(model, inputs)[0]
    parts = x.split(points_at_once(model, x, backward=False))
    with torch.no_grad():
        if layer == INPUTS:
            rows = torch.cat([_plain(model, part) for part in parts])
        elif layer is not None:
            rows = torch.cat([model.activations(part, layer).flatten(1) for part in parts])
        else:
            rows = torch.cat([_entering_head(model, part) for part in parts])
    if not bool(rows.isfinite().all()):
        raise UnsupportedError(f"expected finite outputs of layer {layer!r}, got NaN or infinity")
    return rows.detach().float()


def read_samples(model: Classifier, samples: Data | Inputs) -> tuple[Tensor, Tensor | None]:
    """Inputs (n, ...) as the model takes them, token ids for text, and labels (n,) where there are any."""
    inputs, labels = (samples.inputs, samples.labels) if isinstance(samples, Data) else (samples, None)
    if isinstance(samples, Data) and samples.task != model.task:
        raise InputError(f"expected data for task {model.task!r}, got {samples.task!r}")
    if not len(inputs):
        raise InputError("expected at least one sample, got none")
    if not isinstance(inputs, Tensor):
        if model.task != "text":
            raise InputError(f"expected a torch tensor, got {type(inputs).__name__}")
        inputs = model.encode(inputs)
    return inputs.detach().to(model.device), None if labels is None else labels.to(model.device)


def _plain(model: Classifier, x: Tensor) -> Tensor:
    if model.task == "text":
        raise UnsupportedError("token ids are no space to measure distances in: expected a layer")
    if model.task == "tabular":
        low, high = model.bounds.tensors(x)
        x = (x - low) / (high - low)
    return x.flatten(1)


def _entering_head(model: Classifier, x: Tensor) -> Tensor:
    try:
        return head_of(model, x).features
    except UnsupportedError as error:
        known = ", ".join((*model.layers, INPUTS))
        raise UnsupportedError(f"no default layer, name one of {known}: {error}") from None
