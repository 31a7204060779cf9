"""What a search for counterfactuals returns: the changed inputs, and their changes in words."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.errors import InputError

__all__ = ["CounterfactualResult", "Edit", "default_names", "feature_edits"]


@dataclass(frozen=True)
class Edit:
    """One change: a feature, a pixel or a word, before and after.

    >>> print(Edit("mean radius", 3.2, 4.1), Edit("word 2", "good", None), sep="; ")
    mean radius: 3.2 -> 4.1; word 2: 'good' removed
    >>> print(Edit("rate", 1.00001, 1.00002))
    rate: 1.00001 -> 1.00002
    """

    feature: str
    before: float | str
    after: float | str | None
    """None for a word that was taken out."""

    def __str__(self) -> str:
        if isinstance(self.before, str):
            return f"{self.feature}: {self.before!r} " + ("removed" if self.after is None else f"-> {self.after!r}")
        digits = 4  # more where these would look alike
        while f"{self.before:.{digits}g}" == f"{self.after:.{digits}g}" and digits < 17:
            digits += 1
        return f"{self.feature}: {self.before:.{digits}g} -> {self.after:.{digits}g}"


@dataclass(frozen=True, kw_only=True)
class CounterfactualResult:
    """For each of n samples a changed input that the model decides otherwise, as near as the search found one."""

    inputs: Tensor
    """In the shape of the original ones (token ids for text); the original itself where none was found."""
    original: Tensor
    found: Tensor
    """(n,) bool: whether the goal was reached, by a fresh pass through the model."""
    distance: Tensor
    """(n,) float64, in the norm (for tables in shares of each feature's range; for text, edited words); infinite where
    none was found."""
    changed: Tensor
    """(n,) int64: how many features, pixels' channels or words differ; a one-hot group counts as one."""
    before: Tensor
    """(n,) int64: the decisions on the original inputs."""
    after: Tensor
    """(n,) int64: the decisions on ``inputs``."""
    norm: str
    class_names: tuple[str, ...]
    edits: tuple[tuple[Edit, ...], ...]
    """For each sample its changes, the largest first, those of a text in reading order."""
    notes: tuple[str, ...] = ()
    """What a reader should know: clauses without stops."""

    def __len__(self) -> int:
        return len(self.inputs)

    def describe(self, row: int, most: int = 8) -> str:
        """One line on a sample: decisions before and after, and up to ``most`` of its changes."""
        if not 0 <= row < len(self):
            raise InputError(f"expected a row in 0..{len(self) - 1}, got {row}")
        before = self.class_names[int(self.before[row])]
        if not bool(self.found[row]):
            return f"{before}: no counterfactual found"
        edits = "; ".join(map(str, self.edits[row][:most])) or "nothing changed"
        more = f"; and {len(self.edits[row]) - most} more" if len(self.edits[row]) > most else ""
        return f"{before} -> {self.class_names[int(self.after[row])]}: {edits}{more}"


def feature_edits(original: Tensor, changed: Tensor, names: tuple[str, ...], unit: Tensor) -> tuple[Edit, ...]:
    """The changes of one input, flat, the largest in units first."""
    move = ((changed.double() - original.double()) / unit.double().expand_as(original)).flatten().abs()
    order = move.argsort(descending=True, stable=True)
    before, after = original.flatten(), changed.flatten()
    return tuple(
        Edit(names[index], float(before[index]), float(after[index])) for index in order[move[order] > 0].tolist()
    )


def default_names(shape: torch.Size) -> tuple[str, ...]:
    """Names of the flat features of an input (without the batch): by index, or by channel, row and column."""
    if len(shape) == 1:
        return tuple(f"feature {index}" for index in range(shape[0]))
    rows = [tuple(index) for index in torch.cartesian_prod(*[torch.arange(size) for size in shape]).tolist()]
    return tuple(f"channel {row[0]}, row {row[1]}, column {row[2]}" for row in rows)
