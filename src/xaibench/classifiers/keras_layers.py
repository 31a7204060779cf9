"""Inner layers of Keras models: their names, and taps on them while TensorFlow traces."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from torch import Tensor

from xaibench.errors import UnsupportedError

__all__ = [
    "TRACING",
    "attention_kinds",
    "named_layers",
    "native_shape",
    "stated_layout",
    "tapped_calls",
    "tracing",
    "with_output",
]

TRACING = threading.RLock()
"""Held while a model is traced or tapped: taps must not leak into the graph of another thread."""

Tap = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""What runs in place of a layer's ``call``, given that call and its arguments."""


def named_layers(model: Any) -> dict[str, Any]:
    """Every layer below ``model`` by its path, in order of definition; not the insides of recurrent layers."""
    import keras

    found: dict[str, Any] = {}
    seen: set[int] = set()

    def visit(layer: Any, prefix: str) -> None:
        for part in layer._flatten_layers(include_self=False, recursive=False):
            if id(part) in seen or isinstance(part, keras.layers.InputLayer):
                continue
            seen.add(id(part))
            # A Sequential keeps the functional form of itself among its parts.
            if isinstance(layer, keras.Sequential) and part is getattr(layer, "_functional", None):
                continue
            name = f"{prefix}{part.name}"
            while name in found:
                name += "_"
            found[name] = part
            if not isinstance(part, keras.layers.RNN | keras.layers.TimeDistributed):
                visit(part, f"{name}/")

    visit(model, "")
    return found


def attention_kinds() -> tuple[type, ...]:
    """Layers whose ``call`` takes ``return_attention_scores``."""
    from keras import layers

    return (layers.Attention, layers.GroupQueryAttention, layers.MultiHeadAttention)


def recorder(scores: list[Any]) -> Tap:
    """A tap that keeps the attention weights of every use, and hands on what the caller had asked for."""

    def tap(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output, weights = call(*args, **{**kwargs, "return_attention_scores": True})
        scores.append(weights)
        return (output, weights) if kwargs.get("return_attention_scores") else output

    return tap


def use_name(layer: str, use: int) -> str:
    """What a use of a layer is called: its name, then ``name#2`` and so on."""
    return layer if use == 0 else f"{layer}#{use + 1}"


def by_head(weights: Tensor) -> Tensor:
    """(n, heads, queries, keys) from those of layers with one head (n, queries, keys) too."""
    return weights.unsqueeze(1) if weights.ndim == 3 else weights


@contextmanager
def tapped_calls(taps: list[tuple[Any, Tap]]) -> Iterator[None]:
    """Replace the bound ``call`` of layers; afterwards they are as they were, also after an error."""
    with TRACING, ExitStack() as restore:
        for layer, tap in taps:
            attributes = vars(layer)
            if "call" in attributes:
                restore.callback(attributes.__setitem__, "call", attributes["call"])
            else:
                restore.callback(attributes.__delitem__, "call")
            attributes["call"] = _through(layer.call, tap)
        yield


@contextmanager
def tracing(model: Any) -> Iterator[None]:
    """Hold the lock, and keep losses that layers note on themselves out of the model."""
    with TRACING:
        parts = model._flatten_layers()
        before = [(part._losses, list(part._losses), part._loss_ids, set(part._loss_ids)) for part in parts]
        try:
            yield
        finally:
            for losses, kept, ids, kept_ids in before:
                losses[:] = kept
                ids.clear()
                ids.update(kept_ids)


def _through(call: Callable[..., Any], tap: Tap) -> Callable[..., Any]:
    @functools.wraps(call)
    def tapped(*args: Any, **kwargs: Any) -> Any:
        return tap(call, args, kwargs)

    return tapped


def with_output(model: Any) -> Iterator[Any]:
    """Layers that were called once, so that they have an output."""
    for layer in named_layers(model).values():
        with suppress(AttributeError, ValueError):
            _ = layer.output
            yield layer


def native_shape(model: Any) -> tuple[int | None, ...] | None:
    """Shape of the model's input without the batch, in its own order of axes; None before it has run."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    if len(inputs) != 1:
        raise UnsupportedError(f"the model takes {len(inputs)} inputs: expected one")
    return tuple(inputs[0].shape[1:])


def stated_layout(model: Any, native: tuple[int | None, ...] | None) -> str | None:
    """What the first spatial layer says, if it takes what the model takes: later ones may work on turned axes.

    A `Flatten` of the usual layout says nothing.
    """
    import keras

    for layer in named_layers(model).values():
        layout: str | None = getattr(layer, "data_format", None)
        usual = isinstance(layer, keras.layers.Flatten) and layout == keras.config.image_data_format()
        if layout is not None and not usual:
            return layout if native is None or _entered(layer) == native else None
    return None


def _entered(layer: Any) -> tuple[int | None, ...] | None:
    """Shape of a layer's input without the batch, where the layer has just one."""
    try:
        return tuple(layer.input.shape[1:])
    except (AttributeError, ValueError):
        return None
