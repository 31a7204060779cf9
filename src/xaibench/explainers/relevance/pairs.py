"""Values on the way from the input beside those on the way from a baseline, and the multipliers between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xaibench.explainers.relevance.ruled import Backward, ruled, transposed

__all__ = ["CLOSE", "Pair", "both", "elementwise", "joined", "pairs_in", "product"]

CLOSE = 1e-8
"""Differences within so much, in float64 and relative to what they are between, are taken for derivatives."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A value on the way from the input, which autograd follows, and the same on the way from the baseline.

    The derivative of the live one is the multiplier: how much of a change before becomes a change here.
    """

    live: Tensor
    reference: Tensor
    step: Tensor | None = None
    """Of a comparison that comes out otherwise: the live one as 0 and 1, with multipliers."""

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Both values, out of sight of autograd."""
        return self.live.detach(), self.reference


def pairs_in(item: Any) -> Iterator[Pair]:
    """All pairs among the arguments of an operation."""
    if isinstance(item, Pair):
        yield item
    elif isinstance(item, tuple | list):
        for part in item:
            yield from pairs_in(part)


def joined(value: Tensor, reference: Tensor, backward: Backward, *inputs: Pair) -> Pair:
    """A pair that was computed from others, with the multipliers that ``backward`` applies."""
    return Pair(ruled(value, backward, *(pair.live for pair in inputs)), reference)


def both(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A function on each side by itself; the multiplier is its gradient, right where it is linear."""
    live = function(*_side(args, "live"), **kwargs)
    with torch.no_grad():
        reference = function(*_side(args, "reference"), **kwargs)
    return Pair(live, reference) if isinstance(live, Tensor) else tuple(map(Pair, live, reference))


def elementwise(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Pair:
    """The rescale rule: the change of the value over that of the argument, or the derivative where they hardly differ.

    It is taken in float64: what a quotient of small differences loses in float32 is multiplied by the layers before.
    """
    (place,) = (index for index, part in enumerate(args) if isinstance(part, Pair))
    x: Pair = args[place]
    args = tuple(_wide(part) for part in args)

    def run(value: Tensor) -> Tensor:
        return function(*args[:place], value, *args[place + 1 :], **kwargs)

    with torch.no_grad():
        end, start = (side.double() for side in x.ends)
        after, before, change = run(end), run(start), end - start
        close = change.abs() <= CLOSE * (1 + start.abs())
        multiplier = (after - before) / (change + close)
        if bool(close.any()):
            halfway = (start + end) / 2
            (slope,) = transposed(run, [halfway], torch.ones_like(halfway))
            multiplier = torch.where(close, slope.nan_to_num(0.0, 0.0, 0.0), multiplier)
        value, reference, multiplier = (part.to(x.live.dtype) for part in (after, before, multiplier))
    return joined(value, reference, lambda arrived: (arrived * multiplier,), x)


def product(function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Pair:
    """A product of values that all change: its gradient halfway between the ends, which is complete."""
    places = [index for index, part in enumerate(args) if isinstance(part, Pair)]
    pairs: list[Pair] = [args[place] for place in places]

    def run(*factors: Tensor) -> Tensor:
        found = list(args)
        for place, factor in zip(places, factors, strict=True):
            found[place] = factor
        return function(*found, **kwargs)

    with torch.no_grad():
        halfway = [torch.stack(pair.ends).mean(dim=0) for pair in pairs]
        value, reference = (run(*side) for side in zip(*(pair.ends for pair in pairs), strict=True))
    return joined(value, reference, lambda arrived: transposed(run, halfway, arrived), *pairs)


def _side(item: Any, side: str) -> Any:
    if isinstance(item, Pair):
        return getattr(item, side)
    return type(item)([_side(part, side) for part in item]) if isinstance(item, tuple | list) else item


def _wide(part: Any) -> Any:
    return part.double() if isinstance(part, Tensor) and part.is_floating_point() else part
