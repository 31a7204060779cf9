"""Data sets that fit in memory as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from xaibench.data.source import IMAGE_BOUNDS, Rows, feature_bounds, stratified_split
from xaibench.types import Bounds, Task

__all__ = ["ArraySource"]


@dataclass(frozen=True, kw_only=True)
class ArraySource:
    """Inputs and labels by split, already decoded."""

    task: Task
    class_names: tuple[str, ...]
    arrays: Mapping[str, tuple[Tensor | tuple[str, ...], Tensor]]
    feature_names: tuple[str, ...] | None = None

    @classmethod
    def divided(
        cls,
        task: Task,
        inputs: Tensor | tuple[str, ...],
        labels: Tensor,
        class_names: tuple[str, ...],
        feature_names: tuple[str, ...] | None = None,
    ) -> ArraySource:
        """One body of rows, divided into train and test by `stratified_split`."""
        arrays = {split: (_take(inputs, rows), labels[rows]) for split, rows in stratified_split(labels).items()}
        return cls(task=task, class_names=class_names, arrays=arrays, feature_names=feature_names)

    @property
    def bounds(self) -> Bounds:
        """[0, 1]; for tables each feature's range over the training split."""
        if self.task != "tabular":
            return IMAGE_BOUNDS
        inputs, _ = self.arrays.get("train") or next(iter(self.arrays.values()))
        assert isinstance(inputs, Tensor)
        return feature_bounds(inputs)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits there are."""
        return tuple(self.arrays)

    def size(self, split: str) -> int:
        """Number of rows of a split."""
        return len(self.arrays[split][1])

    def read(self, split: str, ids: Tensor) -> Rows:
        """The rows with these indices."""
        inputs, labels = self.arrays[split]
        return Rows(inputs=_take(inputs, ids), labels=labels[ids])


def _take(inputs: Tensor | tuple[str, ...], ids: Tensor) -> Tensor | tuple[str, ...]:
    return inputs[ids] if isinstance(inputs, Tensor) else tuple(inputs[i] for i in ids.tolist())
