"""How far two attributions of the same input agree."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.errors import InputError

__all__ = ["rank_correlation"]


def rank_correlation(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's rank correlation (n,), float64, of values (n, ...) and (n, ...), sample by sample.

    Ties share their mean rank; 0 where one of the two is constant. Raises `InputError` for shapes that differ.

    >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 30.0, 20.0]])).tolist()
    [0.5]
    """
    if one.shape != other.shape or one.ndim < 2:
        raise InputError(
            f"expected two batches of values of one shape, got {tuple(one.shape)} and {tuple(other.shape)}"
        )
    first, second = (_mean_ranks(part.flatten(1)) for part in (one, other))
    first, second = (part - part.mean(dim=1, keepdim=True) for part in (first, second))
    scale = first.norm(dim=1) * second.norm(dim=1)
    return (first * second).sum(dim=1) / scale.clamp_min(1e-300)


def _mean_ranks(values: Tensor) -> Tensor:
    """Ranks (n, d), float64, where ties share the mean of theirs."""
    ordered, order = values.sort(dim=1)
    place = torch.arange(values.shape[1], device=values.device).expand_as(values)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run = new.cumsum(dim=1) - 1
    zeros = torch.zeros_like(values, dtype=torch.float64)
    count = zeros.scatter_add(1, run, torch.ones_like(zeros))
    total = zeros.scatter_add(1, run, place.double())
    mean = (total / count.clamp_min(1)).gather(1, run)
    return zeros.scatter(1, order, mean)
