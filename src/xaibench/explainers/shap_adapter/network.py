"""Private copies of networks, that SHAP may do with as it likes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.classifiers import KerasClassifier, TorchClassifier
from xaibench.classifiers.keras import KerasEngine
from xaibench.classifiers.outputs import OutputReader, classifying, two_columns
from xaibench.classifiers.patching import analysis
from xaibench.classifiers.redraw import cloned_keras
from xaibench.errors import UnsupportedError
from xaibench.types import Classifier

__all__ = ["PrivateCopy", "private_copy"]

_TORCH_RULES = frozenset(
    f"{name}{rank}d"
    for name in ("Dropout", "Conv", "ConvTranspose", "AvgPool", "AdaptiveAvgPool", "BatchNorm", "MaxPool")
    for rank in (1, 2, 3)
) | {"AlphaDropout", "Dropout", "ELU", "Flatten", "GELU", "Identity", "LeakyReLU", "Linear"}
_TORCH_RULES |= {"ReLU", "SELU", "Sigmoid", "Softmax", "Softplus", "Tanh"}


@dataclass(frozen=True, kw_only=True)
class PrivateCopy:
    """A network that SHAP can run and patch, apart from the model it is a copy of."""

    network: Callable[[int], Any]
    """The network to hand over for a class."""
    inward: Callable[[Tensor], Any]
    """From inputs to what it takes."""
    outward: Callable[[np.ndarray], Tensor]
    """From SHAP's values of a batch (n, ..., 1) for a class to values (n, ...) in the inputs' order of axes."""
    uncovered: tuple[str, ...]
    """Layers that SHAP's DeepLIFT has no rule for, as far as it can be told."""


def private_copy(method: str, model: Classifier, x: Tensor) -> PrivateCopy:
    """A copy of a torch or Keras model of images or tables; ``x`` (n, ...) are inputs to try it on.

    Raises `UnsupportedError` for other models, and where the copy does not give the model's logits.
    """
    if model.task == "text":
        raise UnsupportedError(f"{method} takes images and tables: between token ids there is nothing to go along")
    if isinstance(model, TorchClassifier):
        return _torch_copy(method, model, x[:2])
    if isinstance(model, KerasClassifier):
        return _keras_copy(method, model, x[:2])
    raise UnsupportedError(f"{method} takes torch modules and Keras models, got {type(model).__name__}")


class _TargetLogit(nn.Module):
    """One logit of a module, (n, 1), from inputs in input units."""

    def __init__(self, model: TorchClassifier) -> None:
        super().__init__()
        with analysis(model.module):
            self.module = copy.deepcopy(model.module)
        for part in self.module.modules():
            if getattr(part, "inplace", False) is True:
                setattr(part, "inplace", False)  # noqa: B010  # SHAP cannot follow what is overwritten
        self.eval()
        self.target = 0
        self._interface = model._interface
        self._outputs = OutputReader(model._interface.outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(x)[:, self.target : self.target + 1]

    def logits(self, x: Tensor) -> Tensor:
        """(n, classes), as those of the model."""
        point = self._interface.normalise(x)
        return self._outputs.read(lambda: self.module(point), len(x))


def _torch_copy(method: str, model: TorchClassifier, x: Tensor) -> PrivateCopy:
    whole = _TargetLogit(model)
    _check(method, model, x, whole.logits(x))

    def network(target: int) -> nn.Module:
        whole.target = target
        return whole

    leaves = ((name, part) for name, part in whole.module.named_modules() if not any(part.children()))
    return PrivateCopy(
        network=network,
        inward=lambda x: x.clone(),
        outward=lambda values: torch.from_numpy(np.ascontiguousarray(values)),
        uncovered=tuple(
            f"{name} ({type(part).__name__})" for name, part in leaves if type(part).__name__ not in _TORCH_RULES
        ),
    )


def _keras_copy(method: str, model: KerasClassifier, x: Tensor) -> PrivateCopy:
    import keras

    twin = cloned_keras(model.model)
    twin.set_weights(model.model.get_weights())
    if not isinstance(twin, keras.Sequential) and not hasattr(twin, "_run_through_graph"):
        raise UnsupportedError(f"{method} takes functional or sequential Keras models, got {type(twin).__name__}")
    names = getattr(twin, "output_names", ())
    network = _without_squash(keras.Model(twin.inputs[0], classifying(list(twin.outputs), names)))
    layout, interface = cast(KerasEngine, model._engine)._layout, model._interface
    units, last = int(network.output.shape[-1]), layout.channels_last and x.ndim == 4

    def inward(x: Tensor) -> np.ndarray:
        array: np.ndarray = layout.inward(interface.normalise(x)).contiguous().numpy()
        return array.reshape(len(x), *network.input.shape[1:])

    def one_logit(target: int) -> Any:
        # The logits of a single unit z are (-z / 2, z / 2).
        weights = np.array([[target - 0.5]]) if units == 1 else np.eye(units)[:, target : target + 1]
        chosen = keras.layers.Dense(1, use_bias=False, name="_target_logit")
        whole = keras.Model(network.input, chosen(network.output))
        chosen.set_weights([weights])
        return whole

    def outward(values: np.ndarray) -> Tensor:
        order = values.reshape(len(values), *x.shape[2:], x.shape[1]) if last else values
        return layout.outward(torch.from_numpy(np.ascontiguousarray(order))).reshape(len(values), *x.shape[1:])

    _check(method, model, x, two_columns(torch.from_numpy(np.array(network(inward(x)))), len(x)))
    return PrivateCopy(network=one_logit, inward=inward, outward=outward, uncovered=())


def _without_squash(network: Any) -> Any:
    """The network (a copy) without the softmax or sigmoid that it ends in."""
    import keras

    last = network.layers[-1]
    if isinstance(last, keras.layers.Softmax | keras.layers.Activation):
        return keras.Model(network.input, last.input)
    if getattr(last, "activation", None) in (keras.activations.softmax, keras.activations.sigmoid):
        last.activation = keras.activations.linear
    return network


def _check(method: str, model: Classifier, x: Tensor, logits: Tensor) -> None:
    """Refuse a copy that does not give the model's logits."""
    usual = model.logits(x).detach()
    if logits.shape != usual.shape or not torch.allclose(logits.detach(), usual, rtol=1e-3, atol=1e-4):
        raise UnsupportedError(f"{method} needs a copy of the model, and the copy gives other logits")
