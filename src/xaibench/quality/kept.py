"""What was measured of one method, kept in a file, so that an interrupted assessment goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import xaibench
from xaibench.files import write_json
from xaibench.quality.bench import Bench

__all__ = ["Kept", "Measured"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One method by every metric: values (n,) float64 by metric, and why others, or all of it, could not be had."""

    values: Mapping[str, Tensor]
    refused: Mapping[str, str]
    refusal: str | None = None
    """Why the method does not apply to the model."""


@dataclass(frozen=True)
class Kept:
    """The folder of what was measured on one bench by certain metrics; that of anything else lies in another."""

    folder: Path

    @classmethod
    def open(cls, home: Path, bench: Bench, metrics: Sequence[str]) -> Kept:
        """The place of this model's, these samples' and these metrics' results within ``home``."""
        state = hashlib.sha256()
        for part in (xaibench.__version__, bench.model.digest, str(bench.seed), *metrics):
            state.update(f"{part}\n".encode())
        for tensor in (bench.x, bench.target, bench.masks, bench.spurious_masks):
            state.update(b"-" if tensor is None else tensor.detach().cpu().contiguous().numpy().tobytes())
        return cls(home / state.hexdigest()[:16])

    def get(self, method: str, work: Callable[[], Measured]) -> Measured:
        """What was measured of a method: read if it is there, else made by ``work`` and written."""
        path = self.folder / f"{hashlib.sha256(method.encode()).hexdigest()[:16]}.json"
        try:
            return _read(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            found = work()
        write_json(path, _written(found))
        return found


def _written(found: Measured) -> dict[str, Any]:
    def numbers(values: Tensor) -> list[float | None]:
        return [None if math.isnan(value) else value for value in values.tolist()]

    return {
        "values": {metric: numbers(values) for metric, values in found.values.items()},
        "refused": dict(found.refused),
        "refusal": found.refusal,
    }


def _read(kept: dict[str, Any]) -> Measured:
    values = {
        metric: torch.tensor([math.nan if value is None else value for value in row], dtype=torch.float64)
        for metric, row in kept["values"].items()
    }
    return Measured(values=values, refused=kept["refused"], refusal=kept["refusal"])
