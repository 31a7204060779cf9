"""Recurrent Keras layers computed by torch, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError

__all__ = ["RECURRENT", "tensor_of"]

Activation = Callable[[Any, Any], Callable[[Tensor], Tensor]]
"""From a layer and an activation of it to a function of torch tensors."""


def tensor_of(weight: Any) -> Tensor:
    """A copy of a variable."""
    return torch.from_numpy(weight.numpy().copy())


def _steps(layer: Any, x: Tensor, mask: Tensor | None, step: Callable[..., tuple[Tensor, ...]], states: int) -> Tensor:
    """Run ``step`` on (n, length, features); padding leaves all as it was. The output is the first of the states."""
    for name, usual in (("go_backwards", False), ("return_state", False), ("zero_output_for_mask", False)):
        if getattr(layer, name, usual) != usual:
            raise UnsupportedError(f"layer {layer.name!r}: expected {name}={usual}, got {getattr(layer, name)}")
    cell = layer.cell
    entered = x @ tensor_of(cell.kernel)
    state = tuple(x.new_zeros(x.shape[0], cell.units) for _ in range(states))
    outputs = []
    for place in range(x.shape[1]):
        after = step(entered[:, place], *state)
        if mask is not None:
            known = mask[:, place, None]
            after = tuple(torch.where(known, new, old) for new, old in zip(after, state, strict=True))
        state = after
        outputs.append(state[0])
    return torch.stack(outputs, dim=1) if layer.return_sequences else state[0]


def _lstm(layer: Any, x: Tensor, mask: Tensor | None, activation: Activation) -> Tensor:
    cell = layer.cell
    squash, gate = activation(layer, cell.activation), activation(layer, cell.recurrent_activation)
    recurrent = tensor_of(cell.recurrent_kernel)
    bias = tensor_of(cell.bias) if cell.use_bias else x.new_zeros(4 * cell.units)

    def step(entered: Tensor, hidden: Tensor, carry: Tensor) -> tuple[Tensor, ...]:
        i, f, c, o = (entered + hidden @ recurrent + bias).chunk(4, dim=1)
        carry = gate(f) * carry + gate(i) * squash(c)
        return gate(o) * squash(carry), carry

    return _steps(layer, x, mask, step, 2)


def _gru(layer: Any, x: Tensor, mask: Tensor | None, activation: Activation) -> Tensor:
    cell = layer.cell
    if not cell.reset_after:
        raise UnsupportedError(f"layer {layer.name!r}: expected reset_after=True, got False")
    squash, gate = activation(layer, cell.activation), activation(layer, cell.recurrent_activation)
    recurrent = tensor_of(cell.recurrent_kernel)
    before, inner = tensor_of(cell.bias) if cell.use_bias else x.new_zeros(2, 3 * cell.units)

    def step(entered: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        z, r, h = (entered + before).chunk(3, dim=1)
        inner_z, inner_r, inner_h = (hidden @ recurrent + inner).chunk(3, dim=1)
        update = gate(z + inner_z)
        new = squash(h + gate(r + inner_r) * inner_h)
        return (update * hidden + (1 - update) * new,)

    return _steps(layer, x, mask, step, 1)


RECURRENT: Mapping[str, Callable[[Any, Tensor, Tensor | None, Activation], Tensor]] = {"GRU": _gru, "LSTM": _lstm}
