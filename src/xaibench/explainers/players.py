"""The parts of an input that perturbation methods take away: superpixels, cells of a grid, words, features, groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.reading import check_pictures, padding_of
from xaibench.explainers.superpixels import grid_cells, superpixels
from xaibench.types import Classifier

__all__ = ["Partition", "Players", "players_of"]

Partition = Literal["auto", "superpixels", "grid", "words", "features"] | Tensor
"""How inputs are cut into players: ``auto`` takes superpixels of images, words of texts, features of tables.

A tensor of whole numbers that broadcasts to the inputs gives groups: elements with the same number are one player,
those with a negative number belong to none and are always there.
"""

_NAMES = {"image": ("superpixels", "grid"), "text": ("words",), "tabular": ("features",)}


@dataclass(frozen=True)
class Players:
    """Which player each element of an input belongs to."""

    index: Tensor
    """Numbers from 0, or -1 for none: int64, of the rank of the inputs (n, ...), which it broadcasts to."""
    count: Tensor
    """(n,), int64: the number of players of each sample."""

    @classmethod
    def of_labels(cls, labels: Tensor) -> Players:
        """From any numbers (n, ...), negative for none, that tell the players of a sample apart."""
        n = len(labels)
        sample = torch.arange(n, device=labels.device).view(-1, *[1] * (labels.ndim - 1))
        low = labels.amax().clamp_min(0) + 1 if labels.numel() else torch.tensor(1)
        # One number for each pair of sample and label; sorted, the players of a sample follow each other.
        found, inverse = (sample * low + labels)[labels >= 0].unique(return_inverse=True)
        count = torch.bincount(found // low, minlength=n)
        first = count.cumsum(0) - count
        index = torch.full_like(labels, -1)
        index[labels >= 0] = inverse - first[found // low][inverse]
        return cls(index, count)

    @property
    def most(self) -> int:
        """The largest number of players that a sample has, at least one."""
        return max(1, int(self.count.max()))

    @property
    def present(self) -> Tensor:
        """(n, most), bool: which players there are; samples with fewer than ``most`` leave the last places empty."""
        return torch.arange(self.most, device=self.index.device) < self.count[:, None]

    def among(self, x: Tensor, baseline: Tensor) -> Players:
        """Those whose elements differ between ``x`` and ``baseline`` (n, ...): the others cannot matter."""
        differs = _any_like(x != baseline, self.index)
        matters = self._sums(differs.double()) > 0
        keep = (self.index >= 0) & self._gather(matters)
        return Players.of_labels(torch.where(keep, self.index, -1))

    def of_samples(self, rows: Tensor) -> Players:
        """Those of samples ``rows`` (m,)."""
        return Players(self.index[rows], self.count[rows])

    def spread(self, values: Tensor, shape: torch.Size) -> Tensor:
        """Values (n, most) of players, shared out evenly among the elements of inputs of that shape (n, ...)."""
        each = shape.numel() // self.index.numel()
        size = self._sums(torch.ones_like(self.index, dtype=torch.float64)) * each
        return (self._gather(values / size.clamp_min(1)) * (self.index >= 0)).expand(shape).contiguous()

    def _sums(self, elements: Tensor) -> Tensor:
        """Sums (n, most) over the elements of each player."""
        sums = elements.new_zeros(len(self.index), self.most + 1)
        return sums.scatter_add_(1, self.columns, elements.flatten(1))[:, :-1]

    def _gather(self, values: Tensor) -> Tensor:
        """Each element's player's value; those without a player get any."""
        return values.gather(1, self.columns.clamp_max(self.most - 1)).view_as(self.index)

    @property
    def columns(self) -> Tensor:
        """(n, elements): the player of each element of `index`, ``most`` for none."""
        flat = self.index.flatten(1)
        return flat + (flat < 0) * (self.most + 1)


def players_of(partition: Partition, segments: int, model: Classifier, x: Tensor) -> Players:
    """The players of inputs ``x`` (n, ...); ``segments`` is about how many superpixels or cells an image is cut into.

    Raises `InputError` for a partition that does not fit the inputs.
    """
    if segments < 1:
        raise InputError(f"expected `segments` >= 1, got {segments}")
    if isinstance(partition, Tensor):
        return _given(partition, x)
    names = _NAMES[model.task]
    if partition not in ("auto", *names):
        raise InputError(f"expected players of {model.task} as auto, {', '.join(names)} or a tensor, got {partition!r}")
    if model.task == "image":
        check_pictures("cutting into players", x)
        return Players.of_labels(superpixels(x, segments) if partition != "grid" else grid_cells(x, segments))
    labels = torch.arange(x.shape[1], device=x.device).expand(x.shape)
    return Players.of_labels(torch.where(x == padding_of(model), -1, labels) if model.task == "text" else labels)


def _given(groups: Tensor, x: Tensor) -> Players:
    if groups.is_floating_point() or groups.is_complex() or groups.dtype == torch.bool:
        raise InputError(f"expected players as whole numbers, got {str(groups.dtype).removeprefix('torch.')}")
    try:
        return Players.of_labels(groups.to(x.device, torch.int64).expand(x.shape))
    except RuntimeError:
        raise InputError(f"expected players that broadcast to {tuple(x.shape)}, got {tuple(groups.shape)}") from None


def _any_like(flags: Tensor, index: Tensor) -> Tensor:
    """Flags (n, ...) reduced by *or* to the shape of ``index``."""
    for axis, size in enumerate(index.shape):
        if size == 1 and flags.shape[axis] > 1:
            flags = flags.any(dim=axis, keepdim=True)
    return flags
