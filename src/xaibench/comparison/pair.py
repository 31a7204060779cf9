"""Two live classifiers on the same samples, and pieces of work that an interrupted comparison finds again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from xaibench.comparison.sides import Live, Side
from xaibench.evaluate.clean import clean_logits
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import NotMeasured
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece, Shard, Shards
from xaibench.rng import permutation
from xaibench.threats import Threat
from xaibench.types import Classifier, Progress

__all__ = ["Pair", "threat_of"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both classifiers, with the same labels and samples; what could not be measured is noted in ``left_out``."""

    names: tuple[str, str]
    jobs: tuple[Job, Job]
    left_out: list[NotMeasured] = field(default_factory=list)

    @classmethod
    def of(
        cls, names: tuple[str, str], sides: tuple[Side, Side], folder: Path, progress: Progress | None = None
    ) -> Pair | None:
        """The two live models, with the shards of each in ``folder``; None where one of them is not at hand."""
        jobs = []
        for name, side in zip(names, sides, strict=True):
            if not isinstance(side.live, Live):
                return None
            model, data = side.live.model, side.live.data
            shards = Shards.open(folder, side.plan, model, data)
            jobs.append(Job(plan=side.plan, model=model, data=data, shards=shards, progress=_named(progress, name)))
        return cls(names=names, jobs=(jobs[0], jobs[1]))

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self.jobs[0].plan.seed

    @property
    def labels(self) -> Tensor:
        """(n,) true classes."""
        return self.jobs[0].data.labels

    @property
    def models(self) -> tuple[Classifier, Classifier]:
        """First and second."""
        return self.jobs[0].model, self.jobs[1].model

    @property
    def task(self) -> str:
        """Of both."""
        return self.jobs[0].model.task

    @cached_property
    def logits(self) -> tuple[Tensor, Tensor]:
        """(n, classes) of each, on the unchanged samples."""
        return clean_logits(self.jobs[0]), clean_logits(self.jobs[1])

    @cached_property
    def shared(self) -> Tensor:
        """The samples that both classify correctly, in a random order that the seed decides."""
        right = (self.logits[0].argmax(dim=1) == self.labels) & (self.logits[1].argmax(dim=1) == self.labels)
        order = permutation(len(right), self.seed, "interpretability")
        return order[right[order]]

    @property
    def attacked(self) -> bool:
        """Whether there is a threat model."""
        return all(job.plan.eps is not None for job in self.jobs)

    def each(self, stage: str, key: str, work: Callable[[Job], Piece]) -> tuple[Shard, Shard]:
        """The same piece of work on either model."""
        first, second = (job.collect(stage, {f"compare-{key}": partial(work, job)})[0] for job in self.jobs)
        return first, second

    def together(self, stage: str, key: str, work: dict[str, Callable[[], Piece]]) -> list[Shard]:
        """Work on both at once, by the name of each piece."""
        other = self.jobs[1].model.digest[:16]
        return self.jobs[0].collect(stage, {f"compare-{key}-{name}-{other}": one for name, one in work.items()})

    def skip(self, what: str, reason: str) -> None:
        """Note that something was not measured."""
        self.left_out.append(NotMeasured(what=what, reason=reason))

    def predict(self, place: int, x: Tensor) -> Tensor:
        """Classes (m,) of inputs (m, ...) by one of the two."""
        with torch.no_grad():
            return self.jobs[place].predict(x)


def threat_of(job: Job) -> Threat:
    """The threat model at eps, as it is for the model of a job."""
    return threat_at(job.plan, job.plan.eps or 0.0, job.model)


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda stage, done, total, info: progress(f"{name}: {stage}", done, total, info)
