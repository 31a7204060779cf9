"""Affine maps of every form that networks use them in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaibench.certify.network import Affine, LinearMap

__all__ = ["averaged", "convolution", "dense", "moved", "scaled"]


def dense(weight: Tensor, bias: Tensor | None) -> Affine:
    """x @ weight.T + bias along the last axis; ``weight`` (out, in), ``bias`` (out,)."""
    return Affine(
        map=lambda x: x @ weight.T,
        magnitude=lambda x: x @ weight.abs().T,
        adjoint=lambda rows: rows @ weight,
        shift=bias,
        terms=weight.shape[1] + 1,
    )


def convolution(weight: Tensor, bias: Tensor | None, settings: Sequence[object], shape: Sequence[int]) -> Affine:
    """A convolution of any rank on inputs of this shape (channels, ...).

    ``settings`` are stride, padding, dilation, whether transposed, output padding and groups, as ATen takes them.
    """

    def forward(kernel: Tensor) -> LinearMap:
        return lambda x: torch.ops.aten.convolution(x, kernel, None, *settings)

    def adjoint(rows: Tensor) -> Tensor:
        like = rows.new_empty(1).expand(len(rows), *shape)
        return torch.ops.aten.convolution_backward(rows, like, weight, None, *settings, [True, False, False])[0]

    # Transposed kernels are (in, out, ...): either way this is no less than what one output is made of.
    terms = max(weight[0].numel(), weight[:, 0].numel()) + 1
    return Affine(
        map=forward(weight),
        magnitude=forward(weight.abs()),
        adjoint=adjoint,
        shift=None if bias is None else bias.view(-1, *[1] * (weight.ndim - 2)),
        terms=terms,
    )


def scaled(factor: Tensor | float, shift: Tensor | None = None, *, terms: int = 2) -> Affine:
    """factor * x + shift, elementwise; both are no wider than the input."""
    factor = torch.as_tensor(factor, dtype=torch.float64)
    return Affine(
        map=lambda x: x * factor,
        magnitude=lambda x: x * factor.abs(),
        adjoint=lambda rows: rows * factor,
        shift=shift,
        terms=terms,
    )


def averaged(map_: LinearMap, before: Sequence[int], *, terms: int) -> Affine:
    """A map without negative coefficients, on inputs of this shape: sums and means of windows or axes."""
    return Affine(map=map_, magnitude=map_, adjoint=_transposed(map_, before), terms=terms)


def moved(map_: LinearMap, before: Sequence[int]) -> Affine:
    """A map that only moves, drops, repeats or pads with zeros: views, slices, permutations."""
    return Affine(map=map_, magnitude=map_, adjoint=_transposed(map_, before))


def _transposed(map_: LinearMap, shape: Sequence[int]) -> LinearMap:
    """The transposed map, as the gradient of the map has it."""

    def adjoint(rows: Tensor) -> Tensor:
        with torch.enable_grad():
            start = rows.new_zeros(len(rows), *shape).requires_grad_()
            (result,) = torch.autograd.grad(map_(start), start, rows)
        return result

    return adjoint
