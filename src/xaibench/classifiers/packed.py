"""Weights as int8 numbers with a scale per output channel: how quantised models are stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from xaibench.errors import InputError

__all__ = ["is_packed", "packed", "unpacked", "zeroed"]

_SCALE = ":scale"
"""Ends the names of scales; no parameter of a module has a colon in its name."""


def packed(state: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """``state`` with the tensors ``names`` as int8 numbers and, beside each, its scales.

    Symmetric quantisation of each slice of the first dimension: ``weight = scale * number`` to within half a scale,
    where the scale is the slice's largest magnitude over 127 (Krishnamoorthi, *Quantizing deep convolutional networks
    for efficient inference*, 2018). Zero stays zero. Tensors without finite values raise `InputError`.
    """
    found = dict(state)
    for name in names:
        value = state[name].float()
        if not torch.isfinite(value).all():
            raise InputError(f"expected finite weights to quantise, got others in {name!r}")
        scale = value.flatten(1).abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny * 127) / 127
        numbers = (value / _column(scale, value)).round().clamp(-127, 127)
        found |= {name: numbers.to(torch.int8), name + _SCALE: scale}
    return found


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` with packed tensors as float32 again, and the others as they are."""
    found = {name: value for name, value in state.items() if not name.endswith(_SCALE)}
    for key in state.keys() - found.keys():
        name = key.removesuffix(_SCALE)
        numbers, scale = state.get(name), state[key]
        if numbers is None or numbers.dtype != torch.int8 or scale.shape != numbers.shape[:1]:
            raise InputError(f"expected int8 numbers beside {key!r}, one scale a row, got others")
        found[name] = numbers.float() * _column(scale, numbers)
    return found


def is_packed(state: Mapping[str, Tensor]) -> bool:
    """Whether any tensor of a stored ``state`` is packed."""
    return any(name.endswith(_SCALE) for name in state)


def zeroed(stored: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``stored`` with zeros where its unpacked form became zero in ``state``; all else stays bit for bit."""
    return {
        name: value if name.endswith(_SCALE) else value.masked_fill(state[name] == 0, 0)
        for name, value in stored.items()
    }


def _column(scale: Tensor, like: Tensor) -> Tensor:
    return scale.reshape(-1, *(1,) * (like.ndim - 1))
