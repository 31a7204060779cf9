"""What a data set is before any row is decoded, and how rows are chosen from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.rng import permutation
from xaibench.types import Bounds, Task

__all__ = ["IMAGE_BOUNDS", "Rows", "Source", "TooFewRowsError", "feature_bounds", "select_rows", "stratified_split"]

IMAGE_BOUNDS = Bounds(0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Decoded rows; the fields are those of `Data`."""

    inputs: Tensor | tuple[str, ...]
    labels: Tensor
    masks: Tensor | None = None
    spurious_masks: Tensor | None = None


class Source(Protocol):
    """A labelled data set: it knows its sizes at once, and decodes only the rows that are asked for."""

    @property
    def task(self) -> Task:
        """What its inputs are."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the class indices."""
        ...

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Of a table's columns."""
        ...

    @property
    def bounds(self) -> Bounds:
        """The box of valid inputs."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits there are."""
        ...

    def size(self, split: str) -> int:
        """Number of rows of one of `splits`."""
        ...

    def read(self, split: str, ids: Tensor) -> Rows:
        """The rows with these indices (n,), int64, in this order."""
        ...


class TooFewRowsError(InputError):
    """More rows were asked for than a split has; ``size`` says how many that is."""

    def __init__(self, problem: str, size: int) -> None:
        super().__init__(problem)
        self.size = size


def select_rows(size: int, n: int | None, seed: int | None) -> Tensor:
    """Ids of the first ``n`` rows of a seeded permutation, so that a larger ``n`` holds all rows of a smaller one.

    Without ``n`` all rows, and without a seed the first rows, in the order of the file.

    >>> select_rows(5, 2, None)
    tensor([0, 1])
    """
    if size == 0:
        raise InputError("expected at least one row, got an empty set")
    if n is None:
        return torch.arange(size)
    if not 1 <= n <= size:
        problem = f"expected `n` from 1 to {size}, the rows there are, got {n}"
        raise TooFewRowsError(problem, size) if n > size else InputError(problem)
    return torch.arange(n) if seed is None else permutation(size, "rows", seed)[:n]


def stratified_split(labels: Tensor, *, test_fraction: float = 0.2) -> dict[str, Tensor]:
    """A fixed split of one body of rows into ``train`` and ``test``, each class in proportion; ``all`` is both.

    The split depends on the labels alone. Every class with at least two rows has one on both sides; a part without rows
    is left out.
    """
    test = [torch.zeros(0, dtype=torch.int64)]
    for label in labels.unique().tolist():
        members = (labels == label).nonzero().flatten()
        count = round(len(members) * test_fraction) or int(len(members) > 1)
        test.append(members[permutation(len(members), "split", label)[:count]])
    is_test = torch.zeros(len(labels), dtype=torch.bool)
    is_test[torch.cat(test)] = True
    parts = {"train": (~is_test).nonzero().flatten(), "test": is_test.nonzero().flatten()}
    return {split: rows for split, rows in parts.items() if len(rows)} | {"all": torch.arange(len(labels))}


def feature_bounds(table: Tensor) -> Bounds:
    """Each feature's range over a table (n, features); a constant feature gets a range of one unit."""
    low, high = table.amin(0), table.amax(0)
    high = torch.where(high > low, high, torch.maximum(low + 1, torch.nextafter(low, low.new_tensor(torch.inf))))
    return Bounds(tuple(low.tolist()), tuple(high.tolist()))
