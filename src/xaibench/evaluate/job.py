"""What all stages of a run share: plan, model, data, shards and progress."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from xaibench.data import Data
from xaibench.evaluate.batches import batch_logits, batches
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.shards import Piece, Shard, Shards
from xaibench.types import Classifier, Progress, model_inputs

__all__ = ["Job"]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run under way."""

    plan: Plan
    model: Classifier
    data: Data
    shards: Shards
    progress: Progress | None = None
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    passes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Samples passed forwards and backwards through the model, by attack; see `Evaluation`."""
    _at: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the stage under way: how many shards are done, of how many."""

    def collect(self, stage: str, units: Mapping[str, Callable[[], Piece]]) -> list[Shard]:
        """The shards of a stage, in order; those of an interrupted run are not made again."""
        shards: list[Shard] = []
        for name, work in units.items():
            shard = self.shards.get(name, partial(self._begun, work, stage, len(shards), len(units)))
            self.seconds[stage] += shard.seconds
            shards.append(shard)
            if self.progress is not None:
                self.progress(stage, len(shards), len(units), {"resumed": "yes"} if shard.resumed else {})
        return shards

    def tell(self, **info: Any) -> None:
        """Report figures from inside the work on a shard."""
        if self.progress is not None:
            for stage, (done, total) in self._at.items():
                self.progress(stage, done, total, info)

    def _begun(self, work: Callable[[], Piece], stage: str, done: int, total: int) -> Piece:
        self._at.clear()
        self._at[stage] = done, total
        self.tell()
        return work()

    def batches(self) -> Iterator[slice]:
        """Slices that cover the data, one per shard."""
        return batches(len(self.data), self.plan.batch_size)

    @cached_property
    def x(self) -> Tensor:
        """All inputs (n, ...) on the CPU; token ids for text."""
        return model_inputs(self.model, self.data.inputs).cpu()

    def inputs(self, rows: slice) -> Tensor:
        """Inputs of these rows on the model's device; token ids for text."""
        return self.x[rows].to(self.model.device)

    def predict(self, x: Tensor) -> Tensor:
        """Classes (n,) of inputs (n, ...), on the CPU."""
        logits = [batch_logits(self.model, x[rows].to(self.model.device)) for rows in batches(len(x))]
        return torch.cat(logits).argmax(dim=1)
