"""What enters the last dense layer of a model: its own features, in which its classes are linear."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from xaibench.classifiers.keras import KerasClassifier
from xaibench.classifiers.keras_layers import named_layers
from xaibench.classifiers.outputs import two_columns
from xaibench.classifiers.torch import TorchClassifier
from xaibench.errors import UnsupportedError
from xaibench.types import Classifier

__all__ = ["Head", "head_of"]

_TOLERANCE = 1e-3


class Head(NamedTuple):
    """The last dense layer of a model, as a batch of n samples meets it."""

    layer: str
    """Its name, as in `Classifier.layers`."""
    features: Tensor
    """(n, d): what enters it."""
    units: int
    """One for each class, or 1 for a model of two classes that gives the logit of the second."""
    has_bias: bool
    logits: Tensor
    """(n, classes), of the same pass."""


def head_of(model: Classifier, x: Tensor) -> Head:
    """The last dense layer of a torch or Keras model, and what enters it for the inputs ``x`` (n, ...).

    It is checked that weights and bias give the logits from these features, but for a constant that all classes share.
    Raises `UnsupportedError` for models that end otherwise, and for other frameworks.
    """
    with torch.no_grad():
        if isinstance(model, TorchClassifier):
            logits, dense = _torch_dense(model, x)
        elif isinstance(model, KerasClassifier):
            logits, dense = model.logits(x), _keras_dense(model, x)
        else:
            raise UnsupportedError(f"the last dense layer is found in torch and Keras models, got {model.framework}")
        if dense is not None and dense.features.ndim == 2:
            own = dense.features @ dense.weight.T + (0 if dense.bias is None else dense.bias)
            own = two_columns(own, len(own))
            if own.shape == logits.shape and _same_classes(own, logits):
                return Head(dense.layer, dense.features, len(dense.weight), dense.bias is not None, logits)
    raise UnsupportedError("expected a model that ends in a dense layer of one unit per class, got another end")


class _Dense(NamedTuple):
    """A dense layer: weight (units, d), bias (units,), and what entered it."""

    layer: str
    features: Tensor
    weight: Tensor
    bias: Tensor | None


def _torch_dense(model: TorchClassifier, x: Tensor) -> tuple[Tensor, _Dense | None]:
    """Logits, and the dense layer that ran last."""
    entered: list[_Dense] = []

    def note(name: str) -> Any:
        def hook(layer: nn.Linear, args: tuple[Tensor, ...]) -> None:
            bias = None if layer.bias is None else layer.bias.detach()
            entered.append(_Dense(name, args[0].detach().clone(), layer.weight.detach(), bias))

        return hook

    with model.analysis() as module, ExitStack() as hooks:
        for name, part in module.named_modules():
            if isinstance(part, nn.Linear):
                hooks.callback(part.register_forward_pre_hook(note(name)).remove)
        logits = model.logits(x)
    return logits, next(reversed(entered), None)


def _keras_dense(model: KerasClassifier, x: Tensor) -> _Dense | None:
    """The dense layer that was defined last."""
    import keras

    layers = named_layers(model.model).items()
    name, layer = next(((n, part) for n, part in reversed(layers) if isinstance(part, keras.layers.Dense)), ("", None))
    if layer is None:
        return None
    kernel, *bias = (torch.from_numpy(value.numpy().copy()).float() for value in layer.weights)
    return _Dense(name, model.entering(x, name), kernel.T, next(iter(bias), None))


def _same_classes(one: Tensor, other: Tensor) -> bool:
    """Whether two sets of logits (n, classes) differ by no more than a constant of each row."""
    one, other = (value.double() - value.double().mean(dim=1, keepdim=True) for value in (one, other))
    return bool(((one - other).abs() <= _TOLERANCE * (1 + other.abs())).all())
