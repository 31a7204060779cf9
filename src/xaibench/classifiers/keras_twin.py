"""A Keras model computed by torch, layer by layer with the same weights, for analyses of its graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xaibench.classifiers.graph import Layout
from xaibench.classifiers.keras_recurrent import RECURRENT, tensor_of
from xaibench.classifiers.outputs import classifying
from xaibench.errors import UnsupportedError

__all__ = ["KerasTwin"]


class KerasTwin(nn.Module):
    """Takes batches channels first, as classifiers do, and returns the model's classifying output.

    It knows dense, convolutional, recurrent and embedding layers, batch and layer norm, pooling, merging, reshaping and
    their usual activations, in the layout channels last; a model with any other layer raises `UnsupportedError` when it
    runs.
    """

    def __init__(self, model: Any, layout: Layout) -> None:
        super().__init__()
        self._model = model
        self._layout = layout

    def forward(self, x: Tensor) -> Tensor:
        """(n, classes), as the model ends: logits or probabilities."""
        native = self._layout.native
        x = self._layout.inward(x)
        if native is not None and len(native) + 1 != x.ndim:
            x = x.reshape(len(x), *(-1 if size is None else size for size in native))
        return classifying(_run(self._model, x), getattr(self._model, "output_names", ()))


def _run(model: Any, x: Any) -> Any:
    """All layers of a functional or sequential model on torch tensors."""
    functional = getattr(model, "_functional", None) or model
    if not hasattr(functional, "_run_through_graph"):
        raise UnsupportedError(f"a graph needs a functional or sequential Keras model, got {type(model).__name__}")
    return functional._run_through_graph(x, operation_fn=_torch_layer)


def _torch_layer(layer: Any) -> Callable[..., Any]:
    """What a layer does, as a function of torch tensors; arguments such as ``training`` are left out."""
    import keras

    if isinstance(layer, keras.Model):
        return lambda x, **_: _run(layer, x)
    kind = type(layer).__name__
    if not isinstance(layer, keras.layers.Layer) and kind == "NotEqual":  # the mask of an embedding
        return torch.ne
    if kind not in {*_LAYERS, *RECURRENT} or type(layer) is not getattr(keras.layers, kind, None):
        raise UnsupportedError(f"layer {layer.name!r}: no torch form of {kind} is known")
    if getattr(layer, "data_format", "channels_last") not in ("channels_last", None):
        raise UnsupportedError(f"layer {layer.name!r}: expected channels_last, got {layer.data_format}")
    if kind in RECURRENT:
        return lambda x, mask=None, **_: RECURRENT[kind](layer, x, mask, _activation)

    def run(x: Any, mask: Tensor | None = None, **_: Any) -> Tensor:
        if mask is not None and kind == "GlobalAveragePooling1D":
            return _masked_average(layer, x, mask)
        if mask is not None:
            raise UnsupportedError(f"layer {layer.name!r}: no torch form of {kind} with a mask is known")
        return _activated(layer, _LAYERS[kind](layer, x))

    return run


def _activated(layer: Any, x: Tensor) -> Tensor:
    return _activation(layer, getattr(layer, "activation", None))(x)


def _activation(layer: Any, activation: Any) -> Callable[[Tensor], Tensor]:
    name = "linear" if activation is None else getattr(activation, "__name__", str(activation))
    if name not in _ACTIVATIONS:
        raise UnsupportedError(f"layer {layer.name!r}: no torch form of the activation {name!r} is known")
    return _ACTIVATIONS[name]


def _dense(layer: Any, x: Tensor) -> Tensor:
    y = x @ tensor_of(layer.kernel)
    return y + tensor_of(layer.bias) if layer.use_bias else y


def _convolution(layer: Any, x: Tensor) -> Tensor:
    """In one, two or three dimensions."""
    kernel = tensor_of(layer.kernel)
    rank = kernel.ndim - 2
    x = _same_padded(layer, x.movedim(-1, 1), layer.kernel_size, layer.dilation_rate)
    bias = tensor_of(layer.bias) if layer.use_bias else None
    convolve = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    kernel = kernel.permute(rank + 1, rank, *range(rank))
    y = convolve(x, kernel, bias, layer.strides, dilation=layer.dilation_rate, groups=layer.groups)
    return y.movedim(1, -1)


def _embedding(layer: Any, x: Tensor) -> Tensor:
    return F.embedding(x.long(), tensor_of(layer.embeddings))


def _masked_average(layer: Any, x: Tensor, mask: Tensor) -> Tensor:
    if layer.keepdims:
        raise UnsupportedError(f"layer {layer.name!r}: expected keepdims=False with a mask, got True")
    kept = mask[..., None].to(x.dtype)
    return (x * kept).sum(dim=1) / kept.sum(dim=1)


def _layer_norm(layer: Any, x: Tensor) -> Tensor:
    axes = (layer.axis,) if isinstance(layer.axis, int) else tuple(layer.axis)
    if tuple(axis % x.ndim for axis in axes) != (x.ndim - 1,):
        raise UnsupportedError(f"layer {layer.name!r}: expected layer norm of the last axis, got {layer.axis}")
    if layer.rms_scaling:
        raise UnsupportedError(f"layer {layer.name!r}: expected rms_scaling=False, got True")
    weight = tensor_of(layer.gamma) if layer.scale else None
    bias = tensor_of(layer.beta) if layer.center else None
    return F.layer_norm(x, x.shape[-1:], weight, bias, layer.epsilon)


def _batch_norm(layer: Any, x: Tensor) -> Tensor:
    if layer.axis not in (-1, x.ndim - 1):
        raise UnsupportedError(f"layer {layer.name!r}: expected batch norm of the last axis, got {layer.axis}")
    factor = (tensor_of(layer.moving_variance) + layer.epsilon).rsqrt()
    factor = factor * tensor_of(layer.gamma) if layer.scale else factor
    y = (x - tensor_of(layer.moving_mean)) * factor
    return y + tensor_of(layer.beta) if layer.center else y


def _pooling(pool: Callable[..., Tensor]) -> Callable[[Any, Tensor], Tensor]:
    def run(layer: Any, x: Tensor) -> Tensor:
        if layer.padding != "valid":
            raise UnsupportedError(
                f"layer {layer.name!r}: expected pooling with padding 'valid', got {layer.padding!r}"
            )
        return pool(x.movedim(-1, 1), layer.pool_size, layer.strides).movedim(1, -1)

    return run


def _same_padded(layer: Any, x: Tensor, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """Zeros around images (n, channels, ...) as ``padding="same"`` has them, the odd one at the end; or all before."""
    if layer.padding == "valid":
        return x
    if layer.padding == "causal":
        return F.pad(x, ((kernel[0] - 1) * dilation[0], 0))
    sides: list[int] = []
    for size, width, step, stretch in zip(
        x.shape[:1:-1], kernel[::-1], layer.strides[::-1], dilation[::-1], strict=True
    ):
        total = max(0, (-(-size // step) - 1) * step + (width - 1) * stretch + 1 - size)
        sides += [total // 2, total - total // 2]
    return F.pad(x, sides)


def _leaky_relu(layer: Any, x: Tensor) -> Tensor:
    return F.leaky_relu(x, float(layer.negative_slope))


def _relu(layer: Any, x: Tensor) -> Tensor:
    if layer.threshold != 0:
        raise UnsupportedError(f"layer {layer.name!r}: expected a threshold of 0, got {layer.threshold}")
    y = F.leaky_relu(x, float(layer.negative_slope)) if layer.negative_slope else F.relu(x)
    return y if layer.max_value is None else y.clamp(max=float(layer.max_value))


_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "elu": F.elu,
    "gelu": F.gelu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "linear": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "selu": F.selu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "softplus": F.softplus,
    "tanh": torch.tanh,
}
_LAYERS: Mapping[str, Callable[[Any, Any], Tensor]] = {
    "Activation": lambda layer, x: x,
    "Add": lambda layer, parts: sum(parts[1:], parts[0]),
    "AveragePooling1D": _pooling(F.avg_pool1d),
    "AveragePooling2D": _pooling(F.avg_pool2d),
    "BatchNormalization": _batch_norm,
    "Concatenate": lambda layer, parts: torch.cat(parts, dim=layer.axis),
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "Dense": _dense,
    "Dropout": lambda layer, x: x,
    "Embedding": _embedding,
    "Flatten": lambda layer, x: x.flatten(1),
    "GlobalAveragePooling1D": lambda layer, x: x.mean(dim=1, keepdim=layer.keepdims),
    "GlobalAveragePooling2D": lambda layer, x: x.mean(dim=(1, 2), keepdim=layer.keepdims),
    "GlobalMaxPooling1D": lambda layer, x: x.amax(dim=1, keepdim=layer.keepdims),
    "GlobalMaxPooling2D": lambda layer, x: x.amax(dim=(1, 2), keepdim=layer.keepdims),
    "LayerNormalization": _layer_norm,
    "LeakyReLU": _leaky_relu,
    "MaxPooling1D": _pooling(F.max_pool1d),
    "MaxPooling2D": _pooling(F.max_pool2d),
    "Multiply": lambda layer, parts: math.prod(parts[1:], start=parts[0]),
    "Permute": lambda layer, x: x.permute(0, *layer.dims),
    "ReLU": _relu,
    "Rescaling": lambda layer, x: x * layer.scale + layer.offset,
    "Reshape": lambda layer, x: x.reshape(len(x), *layer.target_shape),
    "Softmax": lambda layer, x: torch.softmax(x, dim=layer.axis),
}
