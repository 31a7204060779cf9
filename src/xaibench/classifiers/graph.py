"""What is written into TensorFlow graphs around a model: its layout before, taps inside, logits after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaibench.classifiers.interface import Interface
from xaibench.classifiers.outputs import OutputKind, kind_of
from xaibench.classifiers.runtime import tensorflow
from xaibench.errors import InputError, UnsupportedError

__all__ = ["Head", "LayerTap", "Layout", "before_squash"]

_SQUASHES = {"LogSoftmax", "Sigmoid", "Softmax"}
_LINEAR = {"AddV2", "BiasAdd", "MatMul"}
_RESHAPES = {"Cast", "ExpandDims", "Identity", "Reshape", "Squeeze"}
_COLOURS = (1, 3, 4)
_TINY = 1e-30


@dataclass(frozen=True)
class Layout:
    """From input units and channels first to what the model takes: axes in torch, which is faster, the rest inside.

    ``native`` is the model's own input shape without the batch, None where it is not known; ``stated`` is the layout
    that the model's layers name, if any.
    """

    interface: Interface
    native: tuple[int | None, ...] | None
    stated: str | None = None

    @property
    def channels_last(self) -> bool:
        """Whether images lie in the model with their channels last."""
        if self.interface.task != "image" or self.stated is not None:
            return self.interface.task == "image" and self.stated == "channels_last"
        shape = self.native
        return not (shape and len(shape) == 3 and shape[0] in _COLOURS and shape[2] not in _COLOURS)

    @property
    def input_shape(self) -> tuple[int | None, ...] | None:
        """The model's own input shape, channels first; None where it is not built or its layout is open."""
        shape = self.native
        if shape is None or self.interface.task != "image":
            return shape
        if len(shape) == 2:
            return (1, *shape)
        if len(shape) != 3:
            return None
        return (shape[2], *shape[:2]) if self.channels_last else shape

    def inward(self, x: Tensor) -> Tensor:
        """A torch batch in the model's order of axes; no copy is made here, and none at all of channels-last memory."""
        return x.permute(0, 2, 3, 1) if self.channels_last and x.ndim == 4 else x

    def outward(self, gradient: Tensor) -> Tensor:
        """Back to channels first, as new memory."""
        if self.channels_last and gradient.ndim == 4:
            gradient = gradient.permute(0, 3, 1, 2)
        return gradient.clone(memory_format=torch.contiguous_format)

    def prepare(self, x: Any) -> Any:
        """Written into the graph: normalise, and flatten for models that take images flat or without channels."""
        tf = tensorflow()
        moments = self.interface.moments(2 if self.channels_last else x.shape.rank)
        if moments is not None:
            mean, std = (tf.constant(value.numpy()) for value in moments)
            x = (x - mean) / std
        if self.interface.task == "image" and self.native is not None and len(self.native) + 1 != x.shape.rank:
            x = tf.reshape(x, (-1, *(-1 if size is None else size for size in self.native)))
        return x


class Head:
    """From a model's output to logits (n, classes) in float32; ``kind`` is known once the model has run."""

    def __init__(self, interface: Interface) -> None:
        self._declared = interface.outputs
        self._sample: Tensor | None = None
        self.kind: OutputKind | None = None

    def learn(self, output: Tensor) -> None:
        """Show what the outputs of a first pass look like, should no softmax or sigmoid be found in the graph."""
        self._sample = output

    def __call__(self, output: Any) -> Any:
        """Logits of an output while it is traced."""
        before = None if self._declared == "logits" else before_squash(output)
        if before is not None:
            self.kind = "squashed"
        elif self._sample is not None:
            self.kind = kind_of(self._sample, self._declared, _maker(output).type in _LINEAR)
        return _to_logits(output if before is None else before, self.kind == "probabilities")


class LayerTap:
    """What is done at one layer while the graph is traced: look, watch, or put something else in its place.

    Activations are channels first on the outside (``output``, ``replacement``) and as the layer has them inside
    (``native``).
    """

    def __init__(
        self,
        name: str,
        layer: Any,
        channels_last: bool,
        *,
        watch: Callable[[Any], None] | None = None,
        replacement: Any = None,
    ) -> None:
        self.name, self.layer = name, layer
        self._turn = channels_last and getattr(layer, "data_format", None) != "channels_first"
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
    operation = _maker(output)
    if operation.type not in _SQUASHES:
        return None
    return tf.reshape(operation.inputs[0], tf.shape(output))


def _maker(output: Any) -> Any:
    """The operation that computed a tensor, whatever shape and precision it was given afterwards."""
    operation = output.op
    while operation.type in _RESHAPES:
        operation = operation.inputs[0].op
    return operation


def _to_logits(output: Any, probabilities: bool) -> Any:
    """Logits (n, classes) in float32; a single unit becomes (-z / 2, z / 2); of probabilities, the logarithm."""
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
    return tf.concat([-output / 2, output / 2], axis=1) if one_unit else output
