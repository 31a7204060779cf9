"""How often a model is right on corrupted images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.corruptions.base import SEVERITIES, corrupt, corruptions
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Classifier

__all__ = ["CorruptionAccuracy", "corruption_accuracy"]


@dataclass(frozen=True)
class CorruptionAccuracy:
    """Shares of samples that a model gets right."""

    names: tuple[str, ...]
    severities: tuple[int, ...]
    clean: float
    """On the images as they are."""
    by_severity: tuple[tuple[float, ...], ...]
    """For each of the names, at each of the severities."""

    @property
    def by_name(self) -> dict[str, float]:
        """The mean over the severities, for each name."""
        return {name: sum(row) / len(row) for name, row in zip(self.names, self.by_severity, strict=True)}

    @property
    def mean(self) -> float:
        """Over all types and severities."""
        return sum(self.by_name.values()) / len(self.names)


def corruption_accuracy(
    model: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    names: Sequence[str] | None = None,
    severities: Sequence[int] = SEVERITIES,
    ids: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 256,
) -> CorruptionAccuracy:
    """Accuracy of ``model`` on images ``x`` (n, channels, height, width), of classes ``y`` (n,), each way corrupted.

    ``names`` are all corruptions if not given. Images within other bounds than [0, 1] are mapped there and back.
    Raises `UnsupportedError` unless the model takes images with the same bounds everywhere.
    """
    if model.task != "image" or isinstance(model.bounds.lower, tuple) or isinstance(model.bounds.upper, tuple):
        raise UnsupportedError(f"corruptions expected a model of images with one pair of bounds, got {model.task}")
    if y.shape != x.shape[:1] or y.is_floating_point():
        raise InputError(f"expected {len(x)} class indices, got {y.dtype} {tuple(y.shape)}")
    if not severities or (names is not None and not names):
        raise InputError("expected at least one corruption and one severity, got none")
    low, span = model.bounds.lower, model.bounds.upper - model.bounds.lower
    unit = (x - low) / span
    names = corruptions.names() if names is None else tuple(names)

    def accuracy(images: Tensor) -> float:
        found = torch.cat([model.predict(part).cpu() for part in images.split(batch_size)])
        return float((found == y.cpu()).double().mean())

    table = tuple(
        tuple(accuracy(low + span * corrupt(unit, name, severity, ids=ids, seed=seed)) for severity in severities)
        for name in names
    )
    return CorruptionAccuracy(names, tuple(severities), accuracy(x), table)
