"""Windows of images, tables and series: where random search changes a point, and by which pattern."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["Schedule", "Windows", "bump", "grid", "spread", "window_share", "window_sides"]

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def window_share(query: int, queries: int, p: float) -> float:
    """The share of the pixels that proposal ``query`` (from 0) of ``queries`` changes: ``p``, halved again and again.

    The schedule is made for 10,000 queries, and other numbers run through it in proportion; but 5,000 are the first
    half of it, as in AutoAttack.

    >>> [window_share(query, 5000, 0.8) for query in (0, 10, 11, 50, 51, 4999)]
    [0.8, 0.8, 0.4, 0.4, 0.2, 0.00625]
    """
    place = query if queries == 5000 else int(query / queries * 10_000)
    return p / 2 ** sum(place > halving for halving in _HALVINGS)


def grid(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """An input's shape as channels, height and width; a table's features, or the length of a series, are a width.

    >>> grid((3, 32, 24)), grid((30,)), grid((2, 100))
    ((3, 32, 24), (1, 1, 30), (2, 1, 100))
    """
    if len(shape) == 1:
        return (1, 1, shape[0])
    if len(shape) == 2:
        return (shape[0], 1, shape[1])
    return (math.prod(shape[:-2]), shape[-2], shape[-1])


def window_sides(share: float, height: int, width: int, *, odd: bool = False) -> tuple[int, int]:
    """Height and width of a square window with this share of the area; what a side is too short for, the other gets.

    With ``odd`` squares have odd sides of at least 3.

    >>> window_sides(0.8, 28, 28), window_sides(0.8, 2, 50), window_sides(0.2, 8, 8, odd=True)
    ((25, 25), (2, 40), (5, 5))
    """
    side = max(round(math.sqrt(share * height * width)), 1)
    if odd:
        side = max(side + (side % 2 == 0), 3)
    short = min(height, width)
    if side <= short:
        return side, side
    long = min(max(round(share * height * width / short), short), max(height, width))
    return (short, long) if height == short else (long, short)


def bump(height: int, width: int, norm: str) -> Tensor:
    """A pattern (height, width) of length 1 in l2 or l1: two peaks of opposite sign, one above the other.

    Each falls off by rings around its middle, as in Andriushchenko et al. (ECCV 2020); the lower one is negative.
    """
    upper, lower = _peak(height // 2, width, norm), _peak(height - height // 2, width, norm)
    both = torch.cat([upper, -lower])
    return both / torch.linalg.vector_norm(both, ord=2 if norm == "l2" else 1)


def _peak(height: int, width: int, norm: str) -> Tensor:
    """Sums of 1 / k^2 (l2) or 1 / k^4 (l1) over the rings k that hold a pixel or lie outside of it."""
    if not height:
        return torch.zeros(0, width)
    ring = torch.maximum(
        (torch.arange(height) - height // 2).abs()[:, None], (torch.arange(width) - width // 2).abs()[None, :]
    )
    order = 2 if norm == "l2" else 1
    parts = torch.arange(1, max(height, width) // 2 + 2, dtype=torch.float64) ** (-4 // order)
    peak = parts.flip(0).cumsum(0).flip(0)[ring]
    return (peak / torch.linalg.vector_norm(peak, ord=order)).float()


@dataclass(frozen=True)
class Windows:
    """A window of each row's plane, all as long as the largest: smaller ones repeat their last pixel."""

    index: Tensor
    """(r, k) positions in the flat plane."""
    inside: Tensor
    """(r, k) 1, and 0 for repetitions."""
    level: Tensor
    """(r,) which of the schedule's sizes each has."""


@dataclass(frozen=True)
class Schedule:
    """The sizes of a search's windows; of every size all pixels, seen from its corner."""

    grid: tuple[int, int, int]
    """Channels, height and width of the inputs."""
    sides: Tensor
    """(sizes, 2) all heights and widths."""
    levels: Tensor
    """(queries,) which of them each query takes."""
    areas: Tensor
    """(sizes,) pixels in each."""
    local: Tensor
    """(sizes, k) their positions in the flat plane, row by row, where the window has its corner at the origin."""

    @classmethod
    def of(cls, x: Tensor, queries: int, p: float, *, odd: bool) -> Self:
        """The sizes of windows of inputs ``x`` (n, ...) by `window_share` and `window_sides`."""
        shape = grid(tuple(x.shape[1:]))
        shares = [window_share(query, queries, p) for query in range(queries)]
        known = {share: window_sides(share, *shape[1:], odd=odd) for share in set(shares)}
        sides, levels = torch.tensor([known[share] for share in shares]).unique(dim=0, return_inverse=True)
        areas = sides.prod(dim=1)
        count = torch.minimum(torch.arange(int(areas.max())), areas[:, None] - 1)
        local = count // sides[:, 1:] * shape[2] + count % sides[:, 1:]
        return cls(shape, *(part.to(x.device) for part in (sides, levels, areas, local)))

    def windows(self, words: Tensor, level: Tensor) -> Windows:
        """Windows of sizes ``level`` (r,) at corners that are uniform by random ``words`` (r,) of 64 bits."""
        _, height, width = self.grid
        sides, areas = self.sides[level], self.areas[level]
        halves = (words[:, None] >> sides.new_tensor([0, 32])) & 0xFFFFFFFF
        corner = (halves * (sides.new_tensor([height + 1, width + 1]) - sides)) >> 32
        longest = int(areas.max())
        index = self.local[:, :longest][level] + (corner * sides.new_tensor([width, 1])).sum(dim=1, keepdim=True)
        inside = (torch.arange(longest, device=level.device) < areas[:, None]).float()
        return Windows(index, inside, level)


def spread(words: Tensor, count: int) -> Tensor:
    """The first ``count`` bits of random words (r, w): (r, count) of 0 and 1."""
    places = torch.arange(count, device=words.device)
    return (words[:, places // 64] >> (places % 64)) & 1
