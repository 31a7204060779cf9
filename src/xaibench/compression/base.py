"""What a compression method is: a frozen dataclass that writes a smaller copy of a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from xaibench.card import Card
from xaibench.registry import Registry
from xaibench.training import Recipe
from xaibench.types import Progress

__all__ = ["Compressor", "Job", "compressors"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A model to compress, and where the copy goes."""

    source: str
    """The model as it was named: a name or a folder."""
    folder: Path
    """Its folder."""
    card: Card
    name: str
    """Of the copy."""
    out: Path
    """The folder to write."""
    epochs: int | None = None
    """Epochs of training; None leaves their number to the method."""
    progress: Progress | None = None

    @property
    def weights(self) -> Path:
        """The file of the model's weights."""
        return self.folder / {"torch": "model.safetensors", "keras": "model.keras"}[self.card.framework]

    def recipe(self, changes: Mapping[str, Any], *, drop: tuple[str, ...]) -> Recipe:
        """The recipe that made the model, under the copy's name, without some fields and with others changed."""
        kept = {key: value for key, value in self.card.recipe.items() if key not in drop}
        data = {
            "data": self.card.data.name,
            "train_split": self.card.data.train_split,
            "test_split": self.card.data.test_split,
        }
        return Recipe.of({**kept, **data, "name": self.name, **changes}, source=f"the card of {self.card.name}")


class Compressor(Protocol):
    """A way to make a model smaller."""

    @property
    def suffix(self) -> str:
        """What the name of the copy ends in."""
        ...

    def __call__(self, job: Job) -> int:
        """Write the copy's folder, not yet measured where it was not trained; returns the epochs of training.

        What cannot be done to this model raises `UnsupportedError` with the reason.
        """
        ...


compressors: Registry[Compressor] = Registry("compression method")
