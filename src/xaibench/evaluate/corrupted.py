"""The corruption stage: accuracy on images that nobody attacked."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from xaibench.corruptions import corruption_accuracy, corruptions
from xaibench.errors import UnsupportedError
from xaibench.evaluate.hardness import Corruptions
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import NotMeasured
from xaibench.evaluate.shards import Piece

__all__ = ["measure_corruptions"]

_SEVERITIES = (1, 3, 5)


def measure_corruptions(job: Job) -> tuple[Corruptions | None, tuple[NotMeasured, ...]]:
    """Accuracy on the first samples of the data by type and severity, or why it was not measured."""
    n = min(job.plan.corruptions or 0, len(job.data))
    if not n:
        return None, ()
    if job.model.task != "image":
        return None, (
            NotMeasured(what="corruptions", reason=f"they are made for images, the data is {job.model.task}"),
        )
    names = corruptions.names()
    units = {f"corruption-{name}": partial(_work, job, name, n) for name in names}
    try:
        shards = job.collect("corruptions", units)
    except UnsupportedError as error:
        return None, (NotMeasured(what="corruptions", reason=str(error)),)
    table = [shard.tensors["accuracy"].tolist() for shard in shards]
    means = [sum(row) / len(row) for row in table]
    return (
        Corruptions(
            n=n,
            names=names,
            severities=_SEVERITIES,
            clean=float(shards[0].tensors["clean"]),
            accuracy=tuple(map(tuple, table)),
            by_name=tuple(means),
            mean=sum(means) / len(means),
        ),
        (),
    )


def _work(job: Job, name: str, n: int) -> Piece:
    found = corruption_accuracy(
        job.model,
        job.inputs(slice(n)),
        job.data.labels[:n],
        names=[name],
        severities=_SEVERITIES,
        ids=job.data.ids[:n],
        seed=job.plan.seed,
    )
    return Piece({"accuracy": _double(found.by_severity[0]), "clean": _double(found.clean)})


def _double(value: float | tuple[float, ...]) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)
