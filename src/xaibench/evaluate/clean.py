"""The clean stage: logits on the unchanged samples, and what they are worth."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from xaibench.data import Data
from xaibench.evaluate.batches import batch_logits
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import Calibration, CleanMetrics
from xaibench.evaluate.shards import Piece
from xaibench.metrics import classification_metrics

__all__ = ["clean_logits", "clean_metrics"]

_BINS = 10


def clean_logits(job: Job) -> Tensor:
    """Logits (n, classes) of all samples, float32, on the CPU."""

    def work(rows: slice) -> Piece:
        return Piece({"logits": batch_logits(job.model, job.inputs(rows))})

    units = {f"clean-{rows.start}": partial(work, rows) for rows in job.batches()}
    return torch.cat([shard.tensors["logits"] for shard in job.collect("clean", units)])


def clean_metrics(logits: Tensor, data: Data) -> CleanMetrics:
    """Metrics of logits (n, classes) on the data, with a reliability diagram of 10 bins."""
    metrics = classification_metrics(logits, data.labels, data.class_names)
    return CleanMetrics(**metrics, calibration=_reliability(logits, data.labels))


def _reliability(logits: Tensor, labels: Tensor) -> tuple[Calibration, ...]:
    confidence, prediction = logits.double().softmax(dim=1).max(dim=1)
    bins = ((confidence * _BINS).ceil().long() - 1).clamp(0, _BINS - 1)
    found = []
    for index in range(_BINS):
        inside = bins == index
        n = int(inside.sum())
        found.append(
            Calibration(
                low=index / _BINS,
                high=(index + 1) / _BINS,
                n=n,
                confidence=float(confidence[inside].mean()) if n else None,
                accuracy=float((prediction == labels)[inside].double().mean()) if n else None,
            )
        )
    return tuple(found)
