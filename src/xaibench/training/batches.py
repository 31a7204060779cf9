"""Rows for training: held-out ones apart, the others in the order of each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from xaibench.rng import SampleRng, permutation
from xaibench.training.augment import augment
from xaibench.training.recipe import Recipe

__all__ = ["TrainingSet", "steps_of", "steps_per_epoch"]


@dataclass(frozen=True)
class TrainingSet:
    """Encoded inputs, labels (n,) and sample ids (n,)."""

    x: Tensor
    y: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def take(self, index: Tensor) -> TrainingSet:
        """The rows at these positions."""
        return TrainingSet(self.x[index], self.y[index], self.ids[index])


def steps_per_epoch(data: TrainingSet, recipe: Recipe) -> int:
    """Whole steps that the rows make; at least one, of fewer rows."""
    return max(1, len(data) // (recipe.batch_size * recipe.accumulate))


def steps_of(
    data: TrainingSet, recipe: Recipe, epoch: int, *, start: int
) -> Iterator[tuple[int, list[tuple[Tensor, Tensor]]]]:
    """The batches of each step of an epoch from ``start`` on; what does not fill a step waits for another epoch."""
    order = permutation(len(data), recipe.seed, "order", epoch)
    per_step = recipe.batch_size * recipe.accumulate
    for step in range(start, steps_per_epoch(data, recipe)):
        rows = order[step * per_step : (step + 1) * per_step]
        batches = []
        for part in rows.split(recipe.batch_size):
            batch = data.take(part)
            rng = SampleRng(batch.ids, recipe.seed, "augmentation")
            batches.append((augment(batch.x, recipe.augmentation, rng, epoch), batch.y))
        yield step, batches
