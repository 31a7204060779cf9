"""What each ATen operator becomes in a network that bounds are computed on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.certify.affine import averaged, convolution, dense, moved, scaled
from xaibench.certify.network import Operation, Sum
from xaibench.certify.relaxations import LeakyReLU, MaxPool, SShaped
from xaibench.errors import UnsupportedError

__all__ = ["READERS", "Add", "Value"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """The output of a node, and its shape without the batch."""

    index: int
    shape: Shape


class Add(Protocol):
    """Appends an operation on the outputs of other nodes to the network."""

    def __call__(self, operation: Operation, shape: Shape, /, *parents: Value) -> Value: ...


Reader = Callable[..., Value]
"""Takes `Add`, the shape of the output without the batch, and the arguments of the operator, constants in float64."""


def _convolution(add: Add, shape: Shape, x: Value, weight: Tensor, bias: Tensor | None, *settings: Any) -> Value:
    return add(convolution(weight, bias, settings, x.shape), shape, x)


def _addmm(add: Add, shape: Shape, bias: Any, x: Any, weight: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    _check_constants("addmm", bias, weight)
    return add(dense(alpha * weight.T, beta * bias), shape, x)


def _mm(add: Add, shape: Shape, x: Any, weight: Any) -> Value:
    _check_constants("mm", weight)
    return add(dense(weight.T, None), shape, x)


def _batch_norm(  # noqa: PLR0917 - the signature of the operator
    add: Add,
    shape: Shape,
    x: Value,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> Value:
    per_channel = (-1, *[1] * (len(shape) - 1))
    factor = (variance + eps).rsqrt() * (1 if weight is None else weight)
    centred = add(scaled(1.0, -mean.view(per_channel), terms=4), shape, x)
    shift = None if bias is None else bias.view(per_channel)
    return add(scaled(factor.view(per_channel), shift, terms=4), shape, centred)


def _add(add: Add, shape: Shape, x: Any, y: Any, *, alpha: float = 1) -> Value:
    if isinstance(x, Value) and isinstance(y, Value):
        second = y if alpha == 1 else add(scaled(alpha), y.shape, y)
        return add(Sum(), shape, _widened(add, shape, x), _widened(add, shape, second))
    if isinstance(x, Value):
        return add(scaled(1.0, _constant(alpha * y, shape)), shape, _widened(add, shape, x))
    return add(scaled(alpha, _constant(x, shape)), shape, _widened(add, shape, y))


def _sub(add: Add, shape: Shape, x: Any, y: Any, *, alpha: float = 1) -> Value:
    return _add(add, shape, x, y, alpha=-alpha)


def _rsub(add: Add, shape: Shape, x: Any, y: Any, alpha: float = 1) -> Value:
    return _add(add, shape, y, x, alpha=-alpha)


def _mul(add: Add, shape: Shape, x: Any, y: Any) -> Value:
    x, y = (x, y) if isinstance(x, Value) else (y, x)
    _check_constants("mul", y)
    return add(scaled(_constant(y, shape)), shape, _widened(add, shape, x))


def _div(add: Add, shape: Shape, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    _check_constants("div", y)
    if rounding_mode is not None:
        raise UnsupportedError(f"bounds know division without rounding, got {rounding_mode!r}")
    return add(scaled(1 / _constant(y, shape)), shape, _widened(add, shape, x))


def _neg(add: Add, shape: Shape, x: Value) -> Value:
    return add(scaled(-1.0, terms=0), shape, x)


def _relu(add: Add, shape: Shape, x: Value) -> Value:
    return add(LeakyReLU(), shape, x)


def _leaky_relu(add: Add, shape: Shape, x: Value, slope: float = 0.01) -> Value:
    if not 0 <= slope <= 1:
        raise UnsupportedError(f"bounds know leaky ReLU of slopes between 0 and 1, got {slope}")
    return add(LeakyReLU(slope=slope), shape, x)


def _clamp(add: Add, shape: Shape, x: Value, low: float | None = None, high: float | None = None) -> Value:
    """low + relu(x - low) and high - relu(high - x), one after the other."""
    _check_constants("clamp", low, high)
    for limit, sign in ((low, 1.0), (high, -1.0)):
        if limit is not None:
            start = torch.as_tensor(limit, dtype=torch.float64)
            above = add(LeakyReLU(), shape, add(scaled(sign, -sign * start, terms=1), shape, x))
            x = add(scaled(sign, start, terms=1), shape, above)
    return x


def _hardtanh(add: Add, shape: Shape, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    return _clamp(add, shape, x, low, high)


def _sigmoid(add: Add, shape: Shape, x: Value) -> Value:
    curve = SShaped(function=torch.sigmoid, derivative=lambda x: torch.sigmoid(x) * torch.sigmoid(-x))
    return _rounded(add, shape, add(curve, shape, x))


def _tanh(add: Add, shape: Shape, x: Value) -> Value:
    return _rounded(add, shape, add(SShaped(function=torch.tanh, derivative=lambda x: 1 - x.tanh() ** 2), shape, x))


def _max_pool(  # noqa: PLR0917 - the signature of the operator
    add: Add,
    shape: Shape,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> Value:
    axes = zip(_pair(kernel), _pair(stride or kernel), _pair(padding), _pair(dilation), strict=True)
    rows, columns = (
        _windows(before, after, *axis) for before, after, axis in zip(x.shape[1:], shape[1:], axes, strict=True)
    )
    members = rows[:, None, :, None] * x.shape[2] + columns[None, :, None, :]
    members = torch.where((rows[:, None, :, None] < 0) | (columns[None, :, None, :] < 0), -1, members)
    return add(MaxPool(members=members.flatten(2)), shape, x)


def _windows(size: int, count: int, /, *settings: int) -> Tensor:
    """Positions (count, kernel) that the windows along one axis cover; -1 where they stand over."""
    kernel, stride, padding, dilation = settings
    positions = torch.arange(count)[:, None] * stride - padding + torch.arange(kernel) * dilation
    return torch.where((positions >= 0) & (positions < size), positions, -1)


def _avg_pool(  # noqa: PLR0917 - the signature of the operator
    add: Add,
    shape: Shape,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    if divisor_override is not None and divisor_override < 0:
        raise UnsupportedError(f"bounds know average pooling by positive divisors, got {divisor_override}")

    def mean(rows: Tensor) -> Tensor:
        return F.avg_pool2d(
            rows, tuple(kernel), tuple(stride) or None, padding, ceil_mode, count_include_pad, divisor_override
        )

    return add(averaged(mean, x.shape, terms=math.prod(_pair(kernel)) + 1), shape, x)


def _adaptive_avg_pool(add: Add, shape: Shape, x: Value, size: Sequence[int]) -> Value:
    terms = math.prod(x.shape[1:]) + 1
    return add(averaged(lambda rows: F.adaptive_avg_pool2d(rows, _pair(size)), x.shape, terms=terms), shape, x)


def _over_axes(reduce: Callable[..., Tensor]) -> Reader:
    def read(
        add: Add, shape: Shape, x: Value, axes: Sequence[int] | None = None, keepdim: bool = False, *, dtype: Any = None
    ) -> Value:
        axes = tuple(_axis(axis, x) for axis in (range(len(x.shape) + 1) if axes is None else axes))
        terms = math.prod(x.shape[axis - 1] for axis in axes) + 1
        return add(averaged(lambda rows: reduce(rows, axes, keepdim), x.shape, terms=terms), shape, x)

    return read


def _view(add: Add, shape: Shape, x: Value, *_: Any, **__: Any) -> Value:
    return add(moved(lambda rows: rows.reshape(len(rows), *shape), x.shape), shape, x)


def _permute(add: Add, shape: Shape, x: Value, order: Sequence[int]) -> Value:
    order = tuple(axis % len(order) for axis in order)
    if order[0] != 0:
        raise UnsupportedError("bounds are taken sample by sample: 'permute' moves the batch to another axis")
    return add(moved(lambda rows: rows.permute(order), x.shape), shape, x)


def _slice(  # noqa: PLR0917 - the signature of the operator
    add: Add, shape: Shape, x: Value, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    if axis == 0 and shape == x.shape:  # all of the batch, as the shapes have been checked
        return x
    where = (*[slice(None)] * _axis(axis, x), slice(start, end, step))
    return add(moved(lambda rows: rows[where], x.shape), shape, x)


def _select(add: Add, shape: Shape, x: Value, axis: int, index: int) -> Value:
    axis = _axis(axis, x)
    return add(moved(lambda rows: rows.select(axis, index), x.shape), shape, x)


def _pad(add: Add, shape: Shape, x: Value, sizes: Sequence[int], value: float = 0.0) -> Value:
    if value != 0 or len(sizes) > 2 * len(x.shape):
        raise UnsupportedError(f"bounds know padding of each sample with zeros, got {value}")
    return add(moved(lambda rows: F.pad(rows, tuple(sizes)), x.shape), shape, x)


def _expand(add: Add, shape: Shape, x: Value, *_: Any, **__: Any) -> Value:
    return _widened(add, shape, x)


def _cat(add: Add, shape: Shape, parts: Sequence[Any], axis: int = 0) -> Value:
    """The sum of the parts, each padded with zeros to the whole."""
    axis = axis % (len(shape) + 1)
    if axis == 0 or not all(isinstance(part, Value) for part in parts):
        raise UnsupportedError("bounds know 'cat' of values of the network along axes of a sample")
    padded, before = [], 0
    for part in parts:
        size = part.shape[axis - 1]
        sizes = (0, 0) * (len(shape) - axis) + (before, shape[axis - 1] - before - size)
        padded.append(_pad(add, shape, part, sizes))
        before += size
    return add(Sum(), shape, *padded)


def _same(add: Add, shape: Shape, x: Value, *_: Any, **__: Any) -> Value:
    return x


def _widened(add: Add, shape: Shape, x: Value) -> Value:
    if x.shape == shape:
        return x
    if len(x.shape) != len(shape):
        raise UnsupportedError(f"bounds are taken sample by sample: {x.shape} cannot be broadcast to {shape}")
    return add(moved(lambda rows: rows.expand(len(rows), *shape), x.shape), shape, x)


def _rounded(add: Add, shape: Shape, x: Value) -> Value:
    """The same with the rounding of a few units in the last place, as transcendental functions have it."""
    return add(scaled(1.0, terms=8), shape, x)


def _constant(value: Any, shape: Shape) -> Tensor:
    """A number, or a tensor that is the same for all samples."""
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.ndim > len(shape) + 1 or (value.ndim == len(shape) + 1 and value.shape[0] != 1):
        raise UnsupportedError(f"bounds are taken sample by sample: a constant {tuple(value.shape)} spans the batch")
    return value


def _check_constants(name: str, *values: Any) -> None:
    if any(isinstance(value, Value) for value in values):
        raise UnsupportedError(f"bounds know {name!r} of the network's values with constants, not with each other")


def _axis(axis: int, x: Value) -> int:
    """An axis counted from the front, the batch being 0."""
    axis = axis % (len(x.shape) + 1)
    if axis == 0:
        raise UnsupportedError("bounds are taken sample by sample: an operation runs along the batch")
    return axis


def _pair(sizes: int | Sequence[int]) -> tuple[int, int]:
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return (sizes[0], sizes[-1])


READERS: dict[str, Reader] = {
    "_adaptive_avg_pool2d": _adaptive_avg_pool,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "_to_copy": _same,
    "_unsafe_view": _view,
    "add": _add,
    "addmm": _addmm,
    "alias": _same,
    "avg_pool2d": _avg_pool,
    "cat": _cat,
    "clamp": _clamp,
    "clone": _same,
    "constant_pad_nd": _pad,
    "convolution": _convolution,
    "detach": _same,
    "div": _div,
    "expand": _expand,
    "hardtanh": _hardtanh,
    "leaky_relu": _leaky_relu,
    "max_pool2d_with_indices": _max_pool,
    "mean": _over_axes(torch.mean),
    "mm": _mm,
    "mul": _mul,
    "neg": _neg,
    "permute": _permute,
    "relu": _relu,
    "rsub": _rsub,
    "select": _select,
    "sigmoid": _sigmoid,
    "slice": _slice,
    "squeeze": _view,
    "sub": _sub,
    "sum": _over_axes(torch.sum),
    "tanh": _tanh,
    "unsqueeze": _view,
    "view": _view,
}
"""How operators of ATen, by name without overload, are read."""
