"""How far the nearest adversarial examples lie."""

from __future__ import annotations

import math
import statistics
from functools import partial

import torch
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.errors import UnsupportedError
from xaibench.evaluate.batches import batches
from xaibench.evaluate.hardness import MinimalDistances
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import NotMeasured
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece
from xaibench.threats import Threat

__all__ = ["distances_of", "nearest", "whole_box"]

_ATTACK = "fmn"
_BINS = 12
_WHAT = "minimal distances"


def nearest(
    job: Job, predictions: Tensor
) -> tuple[MinimalDistances | None, dict[str, Tensor], tuple[NotMeasured, ...]]:
    """Their distances for the first correctly classified samples, the examples, and what could not be measured."""
    plan, model = job.plan, job.model
    rows = (predictions == job.data.labels).nonzero().flatten()[: plan.minimal or 0]
    if not plan.minimal:
        return None, {}, ()
    if model.task == "text":
        return None, {}, (NotMeasured(what=_WHAT, reason="texts are edited word by word, see the budgets instead"),)
    if not len(rows):
        return None, {}, (NotMeasured(what=_WHAT, reason="no sample is classified correctly"),)
    threat, method = whole_box(job), attacks.create(_ATTACK)

    def work(some: Tensor) -> Piece:
        x, y, ids = (each[some].to(model.device) for each in (job.x, job.data.labels, job.data.ids))
        return Piece({"examples": method(model, x, y, threat, ids=ids, seed=plan.seed)})

    units = {f"minimal-{part.start}": partial(work, rows[part]) for part in batches(len(rows))}
    try:
        examples = torch.cat([shard.tensors["examples"] for shard in job.collect(_WHAT, units)])
    except UnsupportedError as error:
        return None, {}, (NotMeasured(what=_WHAT, reason=str(error)),)
    tensors = {"minimal/rows": rows, "minimal/examples": examples}
    return distances_of(threat, job.x[rows], examples), tensors, ()


def whole_box(job: Job) -> Threat:
    """The plan's threat model with a radius that lets an input go anywhere in the box."""
    low, high = (limit.expand(1, *job.x.shape[1:]) for limit in job.model.bounds.tensors(torch.zeros(()).double()))
    return threat_at(job.plan, float(threat_at(job.plan, 1.0, job.model).distance(low, high)), job.model)


def distances_of(threat: Threat, clean: Tensor, examples: Tensor) -> MinimalDistances:
    """The distribution of the distances of examples (m, ...) from clean inputs; one that did not move is none."""
    found = (examples != clean).flatten(1).any(dim=1).tolist()
    far = threat.distance(examples, clean).tolist()
    distances = tuple(distance if moved else None for distance, moved in zip(far, found, strict=True))
    known = [distance for distance in distances if distance is not None]
    middle = statistics.median([math.inf if distance is None else distance for distance in distances])
    top = max(known, default=1.0)
    counts = [0] * _BINS
    for distance in known:
        counts[min(int(distance / top * _BINS), _BINS - 1)] += 1
    return MinimalDistances(
        attack=_ATTACK,
        n=len(distances),
        found=len(known),
        distances=distances,
        median=middle if math.isfinite(middle) else None,
        edges=tuple(top * position / _BINS for position in range(_BINS + 1)),
        counts=tuple(counts),
    )
