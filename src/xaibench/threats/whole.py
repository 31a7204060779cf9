"""From fractions to whole steps: what of a perturbation is kept where features are whole numbers or one-hot."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xaibench.threats.base import Threat
from xaibench.types import Bounds

__all__ = ["best_whole"]


def best_whole(
    offset: Tensor,
    clean: Tensor,
    ball: Threat,
    box: Bounds,
    *,
    integer: Sequence[int],
    one_hot: Sequence[Sequence[int]],
) -> Tensor:
    """Whole moves (n, features), float64, in the spirit of ``offset`` and within the ball; 0 in all other features.

    ``clean`` is valid and ``offset`` within ball and box, both float64. Whole numbers are cut towards the clean value,
    which always fits; single steps and changes of groups are then taken one by one while they fit.
    """
    moves = torch.zeros_like(offset)
    moves[:, list(integer)] = offset[:, list(integer)].trunc()
    steps, wish = _steps(offset, clean, integer, one_hot)
    if not steps.shape[1]:
        return moves
    low, high = (torch.minimum(box.tensors(clean)[0], clean), torch.maximum(box.tensors(clean)[1], clean))
    rows = torch.arange(len(offset), device=offset.device)
    order = wish.argsort(dim=1, descending=True, stable=True)
    for place in range(order.shape[1]):
        chosen = order[:, place]
        trial = moves + steps[rows, chosen]
        point = clean + trial
        fits = (ball.distance(point, clean) <= ball.eps) & ((point >= low) & (point <= high)).all(dim=1)
        moves = torch.where((fits & (wish[rows, chosen] > 0))[:, None], trial, moves)
    return moves


def _steps(
    offset: Tensor, clean: Tensor, integer: Sequence[int], one_hot: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Steps (n, steps, features) that might be taken, and how decidedly (n, steps), in (-1, 1], positive if wished."""
    n, features = offset.shape
    rows = torch.arange(n, device=offset.device)
    steps = offset.new_zeros(n, len(integer) + len(one_hot), features)
    wish = offset.new_zeros(n, steps.shape[1])
    for place, index in enumerate(integer):
        fraction = offset[:, index] - offset[:, index].trunc()
        steps[:, place, index] = fraction.sign()
        wish[:, place] = 2 * fraction.abs() - 1
    for place, group in enumerate(one_hot, start=len(integer)):
        members = torch.as_tensor(list(group), device=offset.device)
        value = (clean + offset)[:, members]
        now = clean[:, members].argmax(dim=1)
        best = value.scatter(1, now[:, None], -torch.inf).argmax(dim=1)
        steps[rows, place, members[now]] = -1
        steps[rows, place, members[best]] = 1
        wish[:, place] = value[rows, best] - value[rows, now]
    return steps, wish
