"""Counts, curves and tables of robustness: a pure function of what was found for each sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.evaluate.hardness import AttackRow, ClassRobustness, Curve, Proved, Robustness, StageRow
from xaibench.evaluate.plan import Plan
from xaibench.metrics import confusion_matrix, wilson_interval
from xaibench.registry import Spec
from xaibench.types import Task

__all__ = ["Effort", "WorstCase", "measured", "radius_unit", "tally", "worst_case"]

_UNITS = {"image": "input units", "tabular": "share of each feature's range", "text": "number of edited words"}


@dataclass(kw_only=True)
class Effort:
    """What one stage of an attack took at all radii and in all shards."""

    stage: str
    forward: int = 0
    backward: int = 0
    rejected: int = 0
    seconds: float = 0.0
    note: str | None = None


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The attack that broke each sample at the smallest radius, the first of the plan where several did."""

    broken_at: Tensor
    """(n,) position of that radius; see `Evaluation`."""
    which: Tensor
    """(n,) position of the attack in the plan."""
    adversarials: Tensor
    """(n, ...) the example up to eps, else the clean input."""
    predictions: Tensor
    """(n,) its class."""


def radius_unit(norm: str, task: str) -> str:
    """What a radius counts."""
    return "number of changed features" if norm == "l0" else _UNITS[task]


def measured(plan: Plan, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """The attacks of the plan that could be made."""
    return tuple(spec for spec in plan.attacks if f"broken_at/{spec}" in tensors)


def worst_case(plan: Plan, tensors: Mapping[str, Tensor]) -> WorstCase:
    """What is left if every attack of the plan may be tried on a sample."""
    specs, index = measured(plan, tensors), (plan.curve or ()).index(plan.eps or 0)
    table = torch.stack([tensors[f"broken_at/{spec}"] for spec in specs])
    # The position of the attack breaks ties.
    ranked = (table * len(specs) + torch.arange(len(specs))[:, None]).amin(dim=0)
    broken_at, which = ranked // len(specs), ranked % len(specs)
    adversarials, predictions = tensors["inputs"].clone(), tensors["predictions"].clone()
    for position, spec in enumerate(specs):
        rows = (which == position) & (broken_at > 0) & (broken_at <= index)
        adversarials[rows] = tensors[f"adversarials/{spec}"][rows]
        predictions[rows] = tensors[f"predictions/{spec}"][rows]
    return WorstCase(broken_at=broken_at, which=which, adversarials=adversarials, predictions=predictions)


def tally(
    plan: Plan,
    task: Task,
    class_names: Sequence[str],
    tensors: Mapping[str, Tensor],
    efforts: Mapping[str, Sequence[Effort]],
    *,
    tried: int | None,
    unproved: str | None,
) -> Robustness:
    """All that follows from the tensors of an `Evaluation`; ``tried`` is None where nothing could be proved."""
    assert plan.eps is not None
    assert plan.curve is not None
    index, specs, worst = plan.curve.index(plan.eps), measured(plan, tensors), worst_case(plan, tensors)
    curves = tuple(
        _curve(spec, tensors[f"broken_at/{spec}"], len(plan.curve), rejected=sum(e.rejected for e in efforts[spec]))
        for spec in specs
    )
    proved_at = tensors["proved_at"]
    return Robustness(
        norm=plan.norm,
        eps=plan.eps,
        unit=radius_unit(plan.norm, task),
        radii=plan.curve,
        curves=curves,
        worst_case=_curve("worst-case", worst.broken_at, len(plan.curve)),
        attacks=_rows(specs, tensors, efforts, index),
        proved=None if tried is None else _proved(proved_at, len(plan.curve), tried),
        unproved=unproved,
        per_class=_per_class(class_names, tensors, worst.broken_at > index, proved_at >= index),
        confusion_matrix=tuple(
            map(tuple, confusion_matrix(worst.predictions, tensors["labels"], len(class_names)).tolist())
        ),
    )


def _curve(attack: str, broken_at: Tensor, radii: int, *, rejected: int = 0) -> Curve:
    n = len(broken_at)
    robust = tuple(int((broken_at > position).sum()) for position in range(radii))
    spec = Spec.parse(attack)
    return Curve(
        attack=attack,
        params=asdict(attacks.create(spec)) if spec.name in attacks else {},  # type: ignore[call-overload]
        robust=robust,
        accuracy=tuple(count / n for count in robust),
        interval=tuple(wilson_interval(count, n) for count in robust),
        rejected=rejected,
    )


def _proved(proved_at: Tensor, radii: int, tried: int) -> Proved:
    n = len(proved_at)
    count = tuple(int((proved_at >= position).sum()) for position in range(radii))
    return Proved(
        tried=tried,
        count=count,
        accuracy=tuple(proved / n for proved in count),
        interval=tuple(wilson_interval(proved, n) for proved in count),
    )


def _rows(
    specs: Sequence[str], tensors: Mapping[str, Tensor], efforts: Mapping[str, Sequence[Effort]], index: int
) -> tuple[AttackRow, ...]:
    before = torch.zeros_like(tensors["labels"], dtype=torch.bool)
    rows = []
    for spec in specs:
        at = tensors[f"broken_at/{spec}"]
        broken = (at > 0) & (at <= index)
        new, stages, effort = broken & ~before, tensors.get(f"stages/{spec}"), efforts[spec]
        rows.append(
            AttackRow(
                attack=spec,
                broken=int(broken.sum()),
                gain=int(new.sum()),
                stages=tuple(
                    StageRow(
                        stage=one.stage,
                        broken=int((broken & (stages == position)).sum()),
                        gain=int((new & (stages == position)).sum()),
                        note=one.note,
                    )
                    for position, one in enumerate(effort)
                )
                if stages is not None
                else (),
            )
        )
        before |= broken
    return tuple(rows)


def _per_class(
    class_names: Sequence[str], tensors: Mapping[str, Tensor], robust: Tensor, proved: Tensor
) -> tuple[ClassRobustness, ...]:
    labels, correct = tensors["labels"], tensors["predictions"] == tensors["labels"]
    found = []
    for position, name in enumerate(class_names):
        own = labels == position
        support, left = int(own.sum()), int((own & robust).sum())
        found.append(
            ClassRobustness(
                name=name,
                support=support,
                correct=int((own & correct).sum()),
                robust=left,
                proved=int((own & proved).sum()),
                accuracy=left / support if support else None,
                interval=wilson_interval(left, support) if support else None,
            )
        )
    return tuple(found)
