"""The proof stage: which samples no attack can break."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from xaibench.certify import prove
from xaibench.errors import UnsupportedError
from xaibench.evaluate.job import Job
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece
from xaibench.evaluate.tally import worst_case

__all__ = ["certainly", "prove_standing"]

_FIRST, _BLOCK = 4, 16
"""Samples of the first block and of each later one; a block without a proof is the last."""


def prove_standing(job: Job, logits: Tensor, tensors: Mapping[str, Tensor]) -> tuple[Tensor, int | None, str | None]:
    """Position (n,) of the largest radius at which each sample is proved, how many were tried, and why none was.

    Linear bounds are tried at eps, on as many of the samples that no attack broke there as the plan says, those with
    the largest margin of clean logits (n, classes) first, and no further where a whole block of them fails; what is
    proved at a radius is proved at all smaller ones. A sample that is correct stands at radius 0.
    """
    plan, model = job.plan, job.model
    assert plan.eps is not None
    assert plan.curve is not None
    index = plan.curve.index(plan.eps)
    proved_at = torch.where(tensors["predictions"] == tensors["labels"], 0, -1)
    if not plan.proofs:
        return proved_at, None, "the plan asks for no proofs"
    standing = (worst_case(plan, tensors).broken_at > index).nonzero().flatten()
    first, second = logits[standing].topk(2, dim=1).values.unbind(dim=1)
    rows = standing[(first - second).argsort(descending=True, stable=True)][: plan.proofs]
    threat, tried = threat_at(plan, plan.eps, model), 0

    def work(some: Tensor) -> Piece:
        x, y = job.x[some].to(model.device), job.data.labels[some].to(model.device)
        try:
            return Piece({"proved": prove(model, x, y, threat)})
        except UnsupportedError as error:
            return Piece({}, {"refused": str(error)})

    for some in (rows[:_FIRST], *rows[_FIRST:].split(_BLOCK)):
        if not len(some):
            continue
        (shard,) = job.collect("proofs", {f"proofs-{tried}": partial(work, some)})
        if "refused" in shard.info:
            return proved_at, None, shard.info["refused"]
        proved, tried = shard.tensors["proved"], tried + len(shard.tensors["proved"])
        proved_at[some[proved]] = index
        if not bool(proved.any()):
            break
    return proved_at, tried, None


def certainly(job: Job, proved_at: Tensor) -> Tensor:
    """Whether each sample (n,) is proved, by proving it again, at the radius that it is said to be proved at."""
    radii, sure = job.plan.curve or (), proved_at <= 0
    for position in proved_at[proved_at > 0].unique().tolist():
        rows = (proved_at == position).nonzero().flatten()
        threat = threat_at(job.plan, radii[position], job.model)
        x, y = job.x[rows].to(job.model.device), job.data.labels[rows].to(job.model.device)
        sure[rows] = prove(job.model, x, y, threat).cpu()
    return sure
