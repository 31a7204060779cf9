"""Private copies of networks, that SHAP may do with as it likes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Mapping
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
from xaibench.classifiers.tracing import operator_name
from xaibench.errors import UnsupportedError
from xaibench.explainers.relevance import operators
from xaibench.explainers.relevance.graph import Graph, graph_of
from xaibench.types import Classifier

__all__ = ["PrivateCopy", "private_copy"]

_LINEAR_LAYERS = frozenset(
    f"{name}{rank}d"
    for name in ("Dropout", "Conv", "ConvTranspose", "AvgPool", "AdaptiveAvgPool", "BatchNorm")
    for rank in (1, 2, 3)
) | {"AlphaDropout", "Dropout", "Flatten", "Identity", "Linear"}
_POOLS = frozenset({"MaxPool1d", "MaxPool2d", "MaxPool3d"})
_CURVED_LAYERS = (
    frozenset({"ELU", "GELU", "LeakyReLU", "ReLU", "SELU", "Sigmoid", "Softmax", "Softplus", "Tanh"}) | _POOLS
)
_FORWARDED = operators.LINEAR | operators.DISCRETE | {"detach", "getitem"}


@dataclass(frozen=True, kw_only=True)
class PrivateCopy:
    """A network that SHAP can run and patch, apart from the model it is a copy of."""

    network: Callable[[int], Any]
    """The network to hand over for a class."""
    inward: Callable[[Tensor], Any]
    """From inputs to what it takes."""
    outward: Callable[[np.ndarray], Tensor]
    """From SHAP's values of a batch (n, ..., 1) for a class to values (n, ...) in the inputs' order of axes."""
    uncovered: Callable[[], tuple[str, ...]]
    """Finds layers and operations that SHAP's DeepLIFT has no right rule for, as far as it can be told."""


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

    return PrivateCopy(
        network=network,
        inward=lambda x: x.clone(),
        outward=lambda values: torch.from_numpy(np.ascontiguousarray(values)),
        uncovered=lambda: _uncovered(model, whole.module, x),
    )


def _uncovered(model: TorchClassifier, module: nn.Module, x: Tensor) -> tuple[str, ...]:
    """Layers without a rule, overlapping or used more than once, and nonlinear operations that are no layers.

    The second kind, such as a ReLU that is a function, SHAP does not see: gradients pass as they are.
    """
    leaves = {name: part for name, part in module.named_modules() if not any(part.children())}
    used = _uses(leaves, lambda: model._interface.normalise(x), module)
    found: dict[str, None] = {}
    for name, part in leaves.items():
        kind = type(part).__name__
        if kind not in _LINEAR_LAYERS | _CURVED_LAYERS:
            found[f"{name} ({kind})"] = None
        elif kind in _CURVED_LAYERS and used[name] > 1:
            found[f"{name} ({kind}, used {used[name]} times)"] = None
        elif kind in _POOLS and _overlaps(part):
            found[f"{name} ({kind}, overlapping)"] = None
    try:
        graph = graph_of(model, x)
    except UnsupportedError:
        return (*found, "what is no layer (the model cannot be traced)")
    for node in graph.nodes:
        if node in graph.live and node is not graph.leaf and _is_curved(node, graph):
            path = next(reversed(node.meta.get("nn_module_stack", {"": ("", "")}).values()))[0]
            name = path.removeprefix("module").removeprefix(".").partition("@")[0]
            if name not in leaves:
                found[f"{operator_name(node)} (function{f' in {name}' if name else ''})"] = None
    return tuple(found)


def _uses(leaves: Mapping[str, nn.Module], point: Callable[[], Tensor], module: nn.Module) -> Counter[str]:
    """How often each layer runs in a forward pass."""
    used: Counter[str] = Counter()
    handles = [part.register_forward_hook(lambda *_, name=name: used.update([name])) for name, part in leaves.items()]
    try:
        with torch.no_grad():
            module(point())
    finally:
        for handle in handles:
            handle.remove()
    return used


def _overlaps(pool: Any) -> bool:
    sides = ((one,) * 3 if isinstance(one, int) else tuple(one) for one in (pool.kernel_size, pool.stride))
    return any(size > step for size, step in zip(*sides, strict=True))


def _is_curved(node: Any, graph: Graph) -> bool:
    """Whether a node is no linear function of what depends on the input."""
    name, live = operator_name(node), [part for part in node.all_input_nodes if part in graph.live]
    if name == "div":
        return live != node.all_input_nodes[:1] or "rounding_mode" in node.kwargs
    if name in operators.PRODUCTS | {"mul"}:
        return len(live) > 1 or sum(part in live for part in node.args) > 1
    return name not in _FORWARDED


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
    return PrivateCopy(network=one_logit, inward=inward, outward=outward, uncovered=tuple)


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
