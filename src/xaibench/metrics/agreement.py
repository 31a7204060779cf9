"""How far two attributions of the same input agree."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError

__all__ = [
    "centre_shift",
    "centres",
    "magnitudes",
    "rank_correlation",
    "structural_similarity",
    "top_k",
    "top_k_overlap",
    "varied",
]

_WINDOW, _SIGMA = 11, 1.5
_STEADY = 0.01**2, 0.03**2
"""Side and width of the window of the structural similarity, and the constants that steady it, as published."""


def rank_correlation(one: Tensor, other: Tensor, where: Tensor | None = None) -> Tensor:
    """Spearman's rank correlation (n,), float64, of values (n, ...) and (n, ...), sample by sample.

    Only finite values at ``where`` (n, ...) count, where that is given. Ties share their mean rank; 0 where one of the
    two is constant. Raises `InputError` for shapes that differ.

    >>> rank_correlation(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 30.0, 20.0]]))
    tensor([0.5000], dtype=torch.float64)
    """
    _check_pair(one, other)
    _check_pair(one, one if where is None else where)
    first, second = (part.flatten(1) for part in (one, other))
    if where is None:
        first, second = (_mean_ranks(part) for part in (first, second))
        first, second = (part - part.mean(dim=1, keepdim=True) for part in (first, second))
    else:
        counts = where.flatten(1).double()
        # What does not count ranks last, so that the ranks of the rest are their own.
        first, second = (_mean_ranks(part.masked_fill(counts == 0, torch.inf)) for part in (first, second))
        size = counts.sum(dim=1, keepdim=True).clamp_min(1)
        first, second = ((part - (part * counts).sum(dim=1, keepdim=True) / size) * counts for part in (first, second))
    scale = first.norm(dim=1) * second.norm(dim=1)
    return (first * second).sum(dim=1) / scale.clamp_min(1e-300)


def magnitudes(values: Tensor) -> Tensor:
    """How much each place counts, whichever way: (n, height, width) of images, whose channels add up; else (n, d).

    >>> magnitudes(torch.tensor([[[[1.0, 0.0]], [[-2.0, 3.0]]]])).tolist()
    [[[3.0, 3.0]]]
    """
    return values.abs().sum(dim=1) if values.ndim == 4 else values.abs()


def top_k(values: Tensor, share: float = 0.1, where: Tensor | None = None) -> Tensor:
    """How much each place belongs to those of largest magnitude: (n, places), float64, that add up to their number.

    That number is ``share`` of the places, at least one. Places that tie for the last of them count alike, by the
    chance of each to be taken. Places of no magnitude are never among them, unless there are no others: a map with
    fewer non-zero places has a smaller top. Only places at ``where`` (n, places) count, if given. Raises `InputError`
    for a ``share`` of the places outside (0, 1].

    >>> top_k(torch.tensor([[3.0, -1.0, 1.0, 0.0]]), share=0.5)
    tensor([[1.0000, 0.5000, 0.5000, 0.0000]], dtype=torch.float64)
    """
    if not 0 < share <= 1:
        raise InputError(f"expected a share of the places in (0, 1], got {share}")
    size = magnitudes(values).flatten(1)
    count = torch.full((len(size),), size.shape[1], device=size.device) if where is None else where.sum(dim=1)
    if where is not None:
        size = size.masked_fill(~where, -1.0)
    wanted = (share * count.double()).round().clamp_min(1).long()[:, None]
    least = size.sort(dim=1, descending=True).values.gather(1, wanted - 1)
    above, level = (size > least).double(), (size == least).double()
    left = wanted - above.sum(dim=1, keepdim=True)
    counts = (least > 0) | ((least == 0) & (size.amax(dim=1, keepdim=True) == 0))
    return above + level * counts * left / level.sum(dim=1, keepdim=True)


def top_k_overlap(one: Tensor, other: Tensor, share: float = 0.1, where: Tensor | None = None) -> Tensor:
    """Share (n,), float64, of the places that count most in one attribution that do so in the other as well.

    Ghorbani, Abid & Zou, *Interpretation of neural networks is fragile* (AAAI 2019). See `top_k` for ``share``,
    ``where`` and ties; a place that ties is in both tops by the smaller of its two chances, so that a map overlaps
    with itself wholly. 1 where no place counts.

    >>> top_k_overlap(torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.tensor([[0.0, 9.0, 8.0, 0.0]]), share=0.5).tolist()
    [0.5]
    """
    _check_pair(one, other)
    first, second = top_k(one, share, where), top_k(other, share, where)
    total = first.sum(dim=1)
    return (torch.minimum(first, second).sum(dim=1) + (total == 0)) / (total + (total == 0))


def centres(values: Tensor) -> Tensor:
    """Centre of mass (n, 2), row and column, of attributions of images; the middle where all is zero."""
    if values.ndim != 4:
        raise InputError(f"expected attributions of images (n, channels, height, width), got {tuple(values.shape)}")
    mass = magnitudes(values)
    # A trace everywhere puts the centre of an empty map in the middle.
    mass = mass / mass.amax(dim=(1, 2), keepdim=True).clamp_min(1e-30) + 1e-12
    share = mass / mass.sum(dim=(1, 2), keepdim=True)
    height, width = (torch.arange(size, device=values.device, dtype=share.dtype) for size in share.shape[1:])
    return torch.stack([share.sum(dim=2) @ height, share.sum(dim=1) @ width], dim=1)


def centre_shift(one: Tensor, other: Tensor) -> Tensor:
    """Distance (n,), float64, of the centres of mass of two attributions of images, as a share of the diagonal.

    After Ghorbani, Abid & Zou (AAAI 2019).
    """
    _check_pair(one, other)
    diagonal = math.hypot(one.shape[-2] - 1, one.shape[-1] - 1)
    return (centres(one.double()) - centres(other.double())).norm(dim=1) / max(diagonal, 1.0)


def structural_similarity(one: Tensor, other: Tensor) -> Tensor:
    """Mean structural similarity (n,), float64, of the magnitudes of two attributions of images, each scaled to 1.

    Wang et al., *Image quality assessment: from error visibility to structural similarity* (TIP 2004), with its
    Gaussian window of 11 pixels where the image is as large, and where the window lies within it; used on attributions
    by Adebayo et al., *Sanity checks for saliency maps* (NeurIPS 2018). 1 for equal maps.
    """
    _check_pair(one, other)
    if one.ndim != 4:
        raise InputError(f"expected attributions of images (n, channels, height, width), got {tuple(one.shape)}")
    first, second = (_scaled(magnitudes(part.double()))[:, None] for part in (one, other))
    rows, columns = (_gaussian(min(_WINDOW, size), first) for size in first.shape[2:])

    def blurred(image: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(image, rows.view(1, 1, -1, 1)), columns.view(1, 1, 1, -1))

    low, high = _STEADY
    mean_first, mean_second = blurred(first), blurred(second)
    product = mean_first * mean_second
    power = mean_first**2 + mean_second**2
    covariance = blurred(first * second) - product
    variance = blurred(first**2) + blurred(second**2) - power
    found = (2 * product + low) * (2 * covariance + high) / ((power + low) * (variance + high))
    return found.flatten(1).mean(dim=1)


def _scaled(images: Tensor) -> Tensor:
    return images / images.amax(dim=(1, 2), keepdim=True).clamp_min(1e-300)


def _gaussian(size: int, like: Tensor) -> Tensor:
    place = torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2
    weight = torch.exp(-0.5 * (place / _SIGMA) ** 2)
    return weight / weight.sum()


def _check_pair(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape or one.ndim < 2:
        raise InputError(
            f"expected two batches of values of one shape, got {tuple(one.shape)} and {tuple(other.shape)}"
        )


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


def varied(values: Tensor, where: Tensor | None = None) -> Tensor:
    """(n,) bool: whether values (n, ...) differ, at ``where`` (n, ...) if that is given: only then they have ranks."""
    counts = torch.ones_like(values, dtype=torch.bool) if where is None else where
    high = values.masked_fill(~counts, -torch.inf).flatten(1).amax(dim=1)
    low = values.masked_fill(~counts, torch.inf).flatten(1).amin(dim=1)
    return high > low
