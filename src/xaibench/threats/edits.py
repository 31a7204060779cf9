"""How many words were edited between two batches of token ids."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["edit_distance", "packed"]


def packed(x: Tensor, gaps: Tensor, *, backwards: bool = False) -> tuple[Tensor, Tensor]:
    """Ids (n, length) outside the ``gaps`` (bool) moved to the front in their order, -1 behind, and how many (n,).

    >>> packed(torch.tensor([[5, 0, 7]]), torch.tensor([[False, True, False]]))
    (tensor([[ 5,  7, -1]]), tensor([2]))
    """
    if backwards:
        x, gaps = x.flip(1), gaps.flip(1)
    order = gaps.to(torch.uint8).argsort(dim=1, stable=True)
    return x.masked_fill(gaps, -1).gather(1, order), (~gaps).sum(dim=1)


def edit_distance(a: Tensor, b: Tensor, padding: int, cut: Literal["left", "right"] = "right") -> Tensor:
    """Fewest words (n,) to be replaced, inserted or deleted to make the texts ``b`` (n, length) of the texts ``a``.

    Levenshtein, *Binary codes capable of correcting deletions, insertions and reversals* (1966), over words. Where a
    text fills its row, the words of ``a`` that insertions pushed out of the row at the ``cut`` end count for nothing.
    """
    backwards = cut == "left"
    (a, size_a), (b, size_b) = (packed(x, x == padding, backwards=backwards) for x in (a, b))
    n, length = b.shape
    column = torch.arange(length + 1, device=a.device)
    cost = column.expand(n, -1)  # of making the first j words of b out of the first i words of a
    fewest = at_end = cost.gather(1, size_b[:, None])
    for i in range(1, length + 1):
        changed = (a[:, i - 1 : i] != b).long()
        start = torch.full_like(cost[:, :1], i)
        kept = torch.cat([start, torch.minimum(cost[:, 1:] + 1, cost[:, :-1] + changed)], dim=1)
        # The cheapest chain of insertions up to each column, all columns at once.
        cost = torch.where((size_a >= i)[:, None], (kept - column).cummin(dim=1).values + column, cost)
        at_end = cost.gather(1, size_b[:, None])
        fewest = torch.minimum(fewest, at_end)
    return torch.where(size_b == length, fewest[:, 0], at_end[:, 0])
