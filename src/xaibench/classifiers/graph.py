"""The one path from a batch in input units, channels first, through a Keras model to logits, traced by TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch

from xaibench.classifiers.interface import Interface
from xaibench.classifiers.keras_layers import named_layers, tapped_calls, tracing
from xaibench.classifiers.outputs import OutputKind, classifying, kind_of
from xaibench.classifiers.runtime import tensorflow
from xaibench.errors import InputError, UnsupportedError

__all__ = ["Graph", "LayerTap", "before_squash", "to_logits"]

_SQUASHES = {"LogSoftmax", "Sigmoid", "Softmax"}
_RESHAPES = {"ExpandDims", "Identity", "Reshape", "Squeeze"}
_COLOURS = (1, 3, 4)
_TINY = 1e-30


class Graph:
    """Normalise, turn to the model's layout, run the model, recover the logits: written to be traced."""

    def __init__(self, model: Any, interface: Interface) -> None:
        self.model = model
        self._interface = interface
        self._native = _native_shape(model)
        self.channels_last = interface.task == "image" and _is_channels_last(model, self._native)
        self._plain_kind: OutputKind | None = None
        self.kind: OutputKind | None = None

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """The model's own input shape, channels first; None where it is not built or its layout is open."""
        shape = self._native
        if shape is None or self._interface.task != "image":
            return shape
        if len(shape) == 2:
            return (1, *shape)
        if len(shape) != 3:
            return None
        return (shape[2], *shape[:2]) if self.channels_last else shape

    def inward(self, x: Any) -> Any:
        """From input units and channels first to what the model takes."""
        tf = tensorflow()
        moments = self._interface.moments(x.shape.rank)
        if moments is not None:
            mean, std = (tf.constant(value.numpy()) for value in moments)
            x = (x - mean) / std
        if self._interface.task != "image":
            return x
        if self.channels_last and x.shape.rank == 4:
            x = tf.transpose(x, (0, 2, 3, 1))
        if self._native is not None and len(self._native) + 1 != x.shape.rank:
            x = tf.reshape(x, (-1, *(-1 if size is None else size for size in self._native)))
        return x

    def learn(self, output: torch.Tensor) -> None:
        """Tell what the outputs of a first pass look like, should no softmax or sigmoid be found in the graph."""
        try:
            self._plain_kind = kind_of(output, self._interface.outputs)
        except InputError:
            self._plain_kind = None

    def __call__(self, x: Any, tap: LayerTap | None = None) -> Any:
        """Logits (n, classes), float32."""
        tf = tensorflow()
        with tracing(self.model), nullcontext() if tap is None else tapped_calls([(tap.layer, tap)]):
            output = classifying(self.model(self.inward(x), training=False))
        if tap is not None:
            tap.check()
        logits = before_squash(output) if self._interface.outputs != "logits" else None
        self.kind = self._plain_kind if logits is None else "squashed"
        if self.kind is None:
            # Raises, with what to do about it.
            kind_of(torch.zeros(1, 1), self._interface.outputs)
        return to_logits(output if logits is None else logits, self.kind == "probabilities", tf.shape(x)[0])


class LayerTap:
    """What is done at one layer while the graph is traced: look, watch, or put something else in its place.

    Activations are channels first on the outside (``output``, ``replacement``) and as the layer has them inside
    (``native``).
    """

    def __init__(
        self,
        graph: Graph,
        name: str,
        *,
        watch: Callable[[Any], None] | None = None,
        replacement: Any = None,
    ) -> None:
        self.name = name
        self.layer = named_layers(graph.model)[name]
        layout = getattr(self.layer, "data_format", None)
        self._turn = graph.channels_last if layout is None else graph.channels_last and layout == "channels_last"
        self._watch, self._replacement = watch, replacement
        self._calls = 0
        self._problem = ""
        self.native: Any = None

    def __call__(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the layer; of several outputs the first is meant."""
        result = call(*args, **kwargs)
        self._calls += 1
        several = isinstance(result, tuple | list)
        native = result[0] if several else result
        if not hasattr(native, "shape"):
            self._problem = f"layer {self.name!r} returns {type(native).__name__}: expected a tensor"
            return result
        if self._replacement is not None:
            native = self._replaced(native)
        if self._watch is not None:
            native = tensorflow().identity(native)
            self._watch(native)
        self.native = native
        return type(result)([native, *result[1:]]) if several else native

    @property
    def output(self) -> Any:
        """The layer's output, channels first for images, float32."""
        return self.outward(tensorflow().cast(self.native, "float32"))

    def outward(self, value: Any) -> Any:
        """From the layer's layout to channels first."""
        return tensorflow().transpose(value, (0, 3, 1, 2)) if self._turn and value.shape.rank == 4 else value

    def check(self) -> None:
        """Raise what could not be raised inside the model, whose errors Keras rewrites."""
        if self._problem:
            raise InputError(self._problem)
        if self._calls != 1:
            raise UnsupportedError(
                f"layer {self.name!r} runs {self._calls} times in one pass: expected once, choose another"
            )

    def _replaced(self, native: Any) -> Any:
        tf = tensorflow()
        value = self._replacement
        if self._turn and value.shape.rank == 4:
            value = tf.transpose(value, (0, 2, 3, 1))
        value = tf.cast(value, native.dtype)
        value.set_shape(native.shape)
        return value


def before_squash(output: Any) -> Any | None:
    """What went into the softmax or sigmoid that made ``output``, found in the graph; None if none did."""
    tf = tensorflow()
    operation = output.op
    while operation.type in _RESHAPES:
        operation = operation.inputs[0].op
    if operation.type not in _SQUASHES:
        return None
    return tf.reshape(operation.inputs[0], tf.shape(output))


def to_logits(output: Any, probabilities: bool, n: Any) -> Any:
    """Logits (n, classes) in float32; a single unit becomes (0, z); of probabilities, the logarithm."""
    tf = tensorflow()
    output = tf.cast(output, "float32")
    if output.shape.rank == 1:
        output = output[:, None]
    if output.shape.rank != 2:
        raise InputError(f"expected the model to return (n, classes), got rank {output.shape.rank}")
    one_unit = output.shape[1] == 1
    if probabilities:
        output = tf.concat([1 - output, output], axis=1) if one_unit else output
        return tf.math.log(tf.maximum(output, _TINY))
    return tf.concat([tf.zeros_like(output), output], axis=1) if one_unit else output


def _native_shape(model: Any) -> tuple[int | None, ...] | None:
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    if len(inputs) != 1:
        raise UnsupportedError(f"the model takes {len(inputs)} inputs: expected one")
    return tuple(inputs[0].shape[1:])


def _is_channels_last(model: Any, shape: tuple[int | None, ...] | None) -> bool:
    formats = (getattr(layer, "data_format", None) for layer in named_layers(model).values())
    stated = next((layout for layout in formats if layout), None)
    if stated is not None:
        return bool(stated == "channels_last")
    return not (shape is not None and len(shape) == 3 and shape[0] in _COLOURS and shape[2] not in _COLOURS)
