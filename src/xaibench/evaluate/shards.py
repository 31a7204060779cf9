"""Finished pieces of a run on disk: each written once, whole, and found again after an interruption."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

import xaibench
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.evaluate.batches import batch_inputs, batch_logits
from xaibench.evaluate.plan import Plan
from xaibench.files import atomic_path, write_json
from xaibench.types import Capability, Classifier

__all__ = ["WORK", "Piece", "Shard", "Shards", "remove_work"]

WORK = ".run"
"""Folder of unfinished work inside a run's folder; what belongs to a report is removed when that is in place."""

_PROBES = 8


@dataclass(frozen=True)
class Piece:
    """What one unit of work gives: tensors by name, and anything else as JSON."""

    tensors: Mapping[str, Tensor]
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Shard(Piece):
    """A piece that is on disk, with the seconds that it took to make, and whether it was there already."""

    seconds: float = 0.0
    resumed: bool = False


@dataclass(frozen=True)
class Shards:
    """The shards of one plan, model and data; those of anything else live in another folder."""

    folder: Path

    @classmethod
    def open(cls, out: Path, plan: Plan, model: Classifier, data: Data) -> Shards:
        """Write the settled plan down, before any work, and give the place for its shards."""
        parts = [plan.model_dump_json(), model.digest, data.digest, *_behaviour(model, data), xaibench.__version__]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        shards = cls(out / WORK / key[:16])
        try:
            write_json(shards.folder / "plan.json", plan.model_dump(mode="json"))
        except OSError as error:
            raise InputError(f"expected a folder that can be written to, got {out}: {error.strerror}") from None
        return shards

    def get(self, name: str, work: Callable[[], Piece]) -> Shard:
        """The shard of this name: read if it is there and whole, else made by ``work`` and written atomically."""
        from safetensors.torch import save_file

        path = self.folder / f"{name}.safetensors"
        found = _read(path)
        if found is not None:
            return found
        start = time.perf_counter()
        piece = work()
        seconds = time.perf_counter() - start
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in piece.tensors.items()}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {"info": json.dumps(dict(piece.info)), "seconds": str(seconds)})
        return Shard(tensors, piece.info, seconds)


def remove_work(folder: Path) -> None:
    """Remove a folder of unfinished work, and the one around it if nothing is left there."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        folder.parent.rmdir()


def _behaviour(model: Classifier, data: Data) -> list[str]:
    """Logits of a few samples to three digits: the weights of a model do not say what its code does with them."""
    logits = batch_logits(model, batch_inputs(model, data, slice(0, _PROBES)))
    if Capability.DETERMINISTIC not in model.capabilities:
        return []
    return [f"{value:.2e}" for value in logits.flatten().tolist()]


def _read(path: Path) -> Shard | None:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError:
        return None
    return Shard(tensors, json.loads(metadata["info"]), float(metadata["seconds"]), resumed=True)
