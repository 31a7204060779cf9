"""How differences from a reference pass through each operation: the rules of DeepLIFT, all of them complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xaibench.classifiers.tracing import operator_name
from xaibench.errors import UnsupportedError
from xaibench.explainers.relevance import operators
from xaibench.explainers.relevance.graph import where
from xaibench.explainers.relevance.pairs import CLOSE, Pair, both, elementwise, joined, pairs_in, product
from xaibench.explainers.relevance.ruled import transposed

__all__ = ["Rescale"]

Rule = Callable[..., Any]
"""Takes an operator and its arguments, pairs where they depend on the input; returns a pair or several."""


class Rescale:
    """Runs each node on pairs; ``uncovered`` gathers those where a decision differs between input and baseline."""

    def __init__(self) -> None:
        self.uncovered: dict[str, None] = {}

    def __call__(self, node: Any, args: Any, kwargs: Any) -> Any:
        """See `Apply`; raises `UnsupportedError` for an operation that no rule is known for."""
        name = operator_name(node)
        if name == "getitem":
            return args[0][args[1]]
        count = sum(isinstance(part, Pair) for part in args)
        if name in _RULES:
            found = _RULES[name](node.target, *args, **kwargs)
        elif name in operators.ELEMENTWISE and count == 1:
            found = elementwise(node.target, *args, **kwargs)
        elif name in operators.PRODUCTS and count > 1:
            found = product(node.target, *args, **kwargs)
        elif name in operators.LINEAR | operators.PRODUCTS | operators.DISCRETE:
            found = both(node.target, *args, **kwargs)
        else:
            raise UnsupportedError(f"no rule is known for {where(node)}")
        if isinstance(found, Pair) and found.live.is_floating_point() and any(map(_differs, pairs_in(args))):
            self.uncovered[where(node)] = None
        return found


def _differs(pair: Pair) -> bool:
    """Whether a decision comes out otherwise for the input than for the baseline, and no rule accounts for it."""
    return not pair.live.is_floating_point() and pair.step is None and not torch.equal(pair.live, pair.reference)


def _relu(function: Rule, x: Pair) -> Pair:
    with torch.no_grad():
        end, start = x.ends
        value, reference, change = end.relu(), start.relu(), end - start
        same = change == 0
        multiplier = (value - reference) / (change + same) + same * (end > 0)
    return joined(value, reference, lambda arrived: (arrived * multiplier,), x)


def _quotient(function: Rule, x: Any, y: Any, **kwargs: Any) -> Pair:
    """A division by what changes, as the product with its reciprocal."""
    if kwargs.get("rounding_mode") is not None:
        raise UnsupportedError("no rule is known for division with rounding")
    if not isinstance(y, Pair):
        return both(function, x, y)
    inverse = elementwise(torch.reciprocal, y)
    return product(torch.mul, x, inverse) if isinstance(x, Pair) else both(torch.mul, inverse, x)


def _extreme(sign: float) -> Rule:
    """The larger or the smaller of two values, (x + y +- |x - y|) / 2."""

    def rule(function: Rule, x: Any, y: Any) -> Pair:
        gap = elementwise(torch.abs, both(torch.sub, x, y))
        return both(lambda x, y, gap: (x + y + sign * gap) / 2, x, y, gap)

    return rule


def _compared(function: Rule, x: Any, y: Any) -> Pair:
    """A comparison, as a step of the difference of what is compared."""
    found = both(function, x, y)
    if torch.equal(found.live, found.reference):
        return found
    gap = both(torch.sub, x, y)
    with torch.no_grad():
        (end, start), (after, before) = gap.ends, (side.to(gap.live.dtype) for side in found.ends)
        multiplier = (after - before) / (end - start + (after == before))
    step = joined(after, before, lambda arrived: (arrived * multiplier,), gap)
    return Pair(found.live, found.reference, step.live)


def _where(function: Rule, condition: Any, x: Any, y: Any) -> Pair:
    """c x + (1 - c) y, a sum of products, where the condition c is a step."""
    found = both(function, condition, x, y)
    if not isinstance(condition, Pair) or condition.step is None:
        return found
    choice = Pair(condition.step, condition.reference.to(found.live.dtype))
    x, y = (part if isinstance(part, Pair) else Pair(part, part) for part in (x, y))
    with torch.no_grad():
        halfway = [torch.stack(pair.ends).mean(dim=0).nan_to_num(0.0, 0.0, 0.0) for pair in (choice, x, y)]

    def backward(arrived: Tensor) -> tuple[Tensor, ...]:
        return transposed(lambda c, x, y: c * x + (1 - c) * y, halfway, arrived)

    return joined(found.live.detach(), found.reference, backward, choice, x, y)


def _max_pool(function: Rule, x: Pair, *args: Any) -> tuple[Pair, None]:
    """The change goes to one place of the window: the largest of the side whose maximum is larger.

    That place has changed by no less, so that the multiplier is within 0 and 1.
    """
    rank = 3 if "3d" in function.__name__ else 2
    with torch.no_grad():
        (value, place), (reference, other) = (function(side, *args) for side in x.ends)
        end, start = (side.flatten(-rank) for side in x.ends)
        chosen = torch.where(value >= reference, place, other).flatten(-rank)
        change = (value - reference).flatten(-rank)
        multiplier = _share(change, (end - start).gather(-1, chosen))

    def backward(arrived: Tensor) -> tuple[Tensor]:
        back = torch.zeros_like(end).scatter_add_(-1, chosen, arrived.flatten(-rank) * multiplier)
        return (back.view_as(x.live),)

    return joined(value, reference, backward, x), None


def _maximum_along(function: Rule, x: Pair, axes: Any = (), keepdim: bool = False) -> Any:
    """Maxima over one axis (with their places) or several (without), by the rule of max pooling."""
    several = isinstance(axes, tuple | list)
    rank = x.live.ndim
    order = sorted(axis % rank for axis in axes) if several else [axes % rank]
    order = order or list(range(rank))
    kept = [axis for axis in range(rank) if axis not in order]
    sizes = [1 if axis in order else size for axis, size in enumerate(x.live.shape) if keepdim or axis not in order]
    rows = both(lambda side: side.permute(*kept, *order).flatten(len(kept)), x)
    with torch.no_grad():
        (value, place), (reference, other) = (side.max(dim=-1, keepdim=True) for side in rows.ends)
        end, start = rows.ends
        chosen = torch.where(value >= reference, place, other)
        multiplier = _share(value - reference, (end - start).gather(-1, chosen))

    def backward(arrived: Tensor) -> tuple[Tensor]:
        return (torch.zeros_like(end).scatter_add_(-1, chosen, arrived * multiplier),)

    found = both(lambda side: side.reshape(sizes), joined(value, reference, backward, rows))
    return found if several else (found, None)


def _share(change: Tensor, of: Tensor) -> Tensor:
    """Quotients; 1 where nothing changes."""
    same = of == 0
    return change / (of + same) + same


def _softmax(function: Rule, x: Pair, axis: int, *rest: Any) -> Pair:
    """With p the logarithmic mean of both sides' probabilities, diag(p) - p p' / sum p.

    It is complete, and the Jacobian where both sides are equal.
    """
    with torch.no_grad():
        value, reference = (side.softmax(axis) for side in x.ends)
        mean = _mean_probability(x, axis)
        share = mean / mean.sum(axis, keepdim=True).clamp_min(torch.finfo(mean.dtype).tiny)

    def backward(arrived: Tensor) -> tuple[Tensor]:
        return (mean * (arrived - (share * arrived).sum(axis, keepdim=True)),)

    return joined(value, reference, backward, x)


def _log_softmax(function: Rule, x: Pair, axis: int, *rest: Any) -> Pair:
    with torch.no_grad():
        value, reference = (side.log_softmax(axis) for side in x.ends)
        mean = _mean_probability(x, axis)
        share = mean / mean.sum(axis, keepdim=True)
    return joined(value, reference, lambda arrived: (arrived - share * arrived.sum(axis, keepdim=True),), x)


def _mean_probability(x: Pair, axis: int) -> Tensor:
    """The logarithmic mean of two softmaxes: their difference over that of their logarithms; 0 where one is 0."""
    end, start = (side.double().log_softmax(axis) for side in x.ends)
    change = end - start
    close = change.abs() <= CLOSE
    mean = (end.exp() - start.exp()) / (change + close)
    mean = torch.where(close, ((end + start) / 2).exp(), mean)
    return mean.nan_to_num(0.0).to(x.live.dtype)


def _layer_norm(function: Rule, x: Pair, shape: Sequence[int], *settings: Any) -> Any:
    weight, bias, eps = settings
    return _scaled(_normalised(x, tuple(range(-len(shape), 0)), eps), weight, bias), None, None


def _group_norm(function: Rule, x: Pair, weight: Any, bias: Any, *settings: Any) -> Any:
    n, _channels, _size, groups, eps = settings
    shape = x.live.shape
    rows = both(lambda side: side.reshape(n, groups, -1), x)
    found = both(lambda side: side.reshape(shape), _normalised(rows, (-1,), eps))
    by_channel = (-1, *[1] * (len(shape) - 2))
    weight, bias = (None if part is None else part.view(by_channel) for part in (weight, bias))
    return _scaled(found, weight, bias), None, None


def _instance_norm(function: Rule, x: Pair, weight: Any, bias: Any, *settings: Any) -> Any:
    _training, _momentum, eps = settings
    if function.__name__ != "_native_batch_norm_legit.no_stats" or x.live.shape[0] != 1:
        raise UnsupportedError("no rule is known for batch norm by the statistics of the batch itself")
    by_channel = (-1, *[1] * (x.live.ndim - 2))
    weight, bias = (None if part is None else part.view(by_channel) for part in (weight, bias))
    return _scaled(_normalised(x, tuple(range(2, x.live.ndim)), eps), weight, bias), None, None


def _vector_norm(function: Rule, x: Pair, order: float = 2, axes: Any = None, keepdim: bool = False) -> Pair:
    if order not in (1, 2):
        raise UnsupportedError(f"no rule is known for norms of order {order}")
    total = both(lambda side: side.sum(axes, keepdim), elementwise(torch.abs if order == 1 else torch.square, x))
    return total if order == 1 else elementwise(torch.sqrt, total)


def _scaled(x: Pair, weight: Any, bias: Any) -> Pair:
    x = x if weight is None else both(torch.mul, x, weight)
    return x if bias is None else both(torch.add, x, bias)


def _normalised(x: Pair, axes: tuple[int, ...], eps: float) -> Pair:
    """Deviations from the mean times the reciprocal root of their mean square: a product, in closed form."""
    with torch.no_grad():
        centred, other = (side - side.mean(axes, keepdim=True) for side in x.ends)
        scale, before = ((side.square().mean(axes, keepdim=True) + eps).rsqrt() for side in (centred, other))
        mean, mean_scale = (centred + other) / 2, (scale + before) / 2
        # The change of v ** -0.5 over that of v, for the mean square v, without a difference that could vanish.
        slope = -((scale * before) ** 2) / (scale + before)
        count = mean.numel() // scale.numel()

    def backward(arrived: Tensor) -> tuple[Tensor]:
        to_square = slope * (arrived * mean).sum(axes, keepdim=True)
        back = arrived * mean_scale + to_square * 2 * mean / count
        return (back - back.mean(axes, keepdim=True),)

    return joined(centred * scale, other * before, backward, x)


_RULES: Mapping[str, Rule] = {
    "_log_softmax": _log_softmax,
    "_native_batch_norm_legit": _instance_norm,
    "_softmax": _softmax,
    "amax": _maximum_along,
    "detach": lambda function, x: x,
    "div": _quotient,
    "ge": _compared,
    "gt": _compared,
    "le": _compared,
    "linalg_vector_norm": _vector_norm,
    "lt": _compared,
    "max": _maximum_along,
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    "maximum": _extreme(1.0),
    "minimum": _extreme(-1.0),
    "native_group_norm": _group_norm,
    "native_layer_norm": _layer_norm,
    "relu": _relu,
    "where": _where,
}
