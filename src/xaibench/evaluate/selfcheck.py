"""The self-check stage: whether the numbers of the robustness stage can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from xaibench.checks import Case, Report, checks, examine
from xaibench.errors import InputError
from xaibench.evaluate.hardness import CheckOutcome, SelfChecks
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import NotMeasured
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece
from xaibench.evaluate.tally import measured, worst_case
from xaibench.robustness.result import CLEAN

__all__ = ["self_check"]


def self_check(job: Job, tensors: Mapping[str, Tensor]) -> tuple[SelfChecks | None, tuple[NotMeasured, ...]]:
    """The outcomes of the checks on the worst case of all attacks at eps."""
    if not job.plan.checks or not len(checks.names()):
        return None, ()
    (shard,) = job.collect("self-checks", {"checks": lambda: _work(job, tensors)})
    if "refused" in shard.info:
        return None, (NotMeasured(what="self-checks", reason=shard.info["refused"]),)
    return SelfChecks(**shard.info), ()


def _work(job: Job, tensors: Mapping[str, Tensor]) -> Piece:
    plan, device = job.plan, job.model.device
    assert plan.eps is not None
    assert plan.curve is not None
    worst, specs = worst_case(plan, tensors), measured(plan, tensors)
    index = plan.curve.index(plan.eps)
    correct = tensors["predictions"] == tensors["labels"]
    case = Case(
        model=job.model,
        x=job.inputs(slice(None)),
        y=job.data.labels.to(device),
        ids=job.data.ids.to(device),
        threat=threat_at(plan, plan.eps, job.model),
        seed=plan.seed,
        correct=correct.to(device),
        robust=(worst.broken_at > index).to(device),
        adversarials=worst.adversarials.to(device),
        attacks=tuple(specs),
        broken_by=tuple(
            CLEAN if at == 0 else specs[which] if at <= index else ""
            for at, which in zip(worst.broken_at.tolist(), worst.which.tolist(), strict=True)
        ),
    )
    try:
        return Piece({}, _dump(examine(case, thorough=plan.thorough)))
    except InputError as error:
        return Piece({}, {"refused": str(error)})


def _dump(report: Report) -> dict[str, object]:
    outcomes = tuple(CheckOutcome(**asdict(outcome)) for outcome in report.outcomes)
    return SelfChecks(verdict=report.verdict, outcomes=outcomes).model_dump(mode="json")
