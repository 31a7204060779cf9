"""The interpretability stage: trust and agreement of explainers, and how far their maps are moved, by radius."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.evaluate.batches import batches
from xaibench.evaluate.interpreted import (
    Estimate,
    ExplanationCurve,
    Interpretability,
    MethodTrust,
    MovedAt,
    Quality,
    QualityScore,
)
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import NotMeasured
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece, Shard
from xaibench.evaluate.tally import measured, worst_case
from xaibench.explainers import explain
from xaibench.explainers.comparison import compare_explainers
from xaibench.manipulation import attack_explanation, moved
from xaibench.metrics.intervals import bootstrap_interval
from xaibench.quality import assess
from xaibench.quality.assess import DEFAULT_METRICS
from xaibench.registry import Spec
from xaibench.rng import SampleRng, permutation

__all__ = ["interpret", "manipulated_key", "manipulated_rows", "searched_radii"]

Interpreted = tuple[Interpretability | None, dict[str, Tensor], tuple[NotMeasured, ...]]

_TRUST, _QUALITY, _MOVEMENT = "trust of explanations", "quality of explanations", "robustness of explanations"
_PART = 16
_PLANTED = ("relevance_rank", "pointing_game")
"""Metrics of where values lie, for data that tell where the evidence is."""
_STEPS = 20
"""Steps of the search at each radius; each radius starts from what the one before it found."""


def interpret(job: Job, predictions: Tensor, tensors: Mapping[str, Tensor]) -> Interpreted:
    """What can be said of the plan's explainers; the inputs that move their maps; and what could not be measured.

    ``tensors`` are those of the attacks. Inputs that move maps are searched where they are not among them: see
    `manipulated_key`.
    """
    plan = job.plan
    if not plan.explainers or not plan.assessed:
        return None, {}, ()
    shard, kept, refused = _assess(job, predictions)
    curves: list[ExplanationCurve] = []
    if kept and plan.compared and measured(plan, tensors):
        curves += [_attacked(job, spec, predictions, tensors) for spec in kept]
    found, unsearched = _manipulated(job, kept, tensors)
    for spec, inputs in found.items():
        curves += [_at_radii(job, spec, "noise", predictions, _noise(job))]
        curves += [_at_radii(job, spec, "manipulation", predictions, inputs)]
    return (
        Interpretability(
            explainers=tuple(kept),
            assessed=len(_rows(job, plan.assessed)),
            trust=tuple(MethodTrust(explainer=spec, **shard.info["trust"][spec]) for spec in kept),
            agreement=tuple(map(tuple, shard.tensors["agreement"].tolist())),
            quality=_quality(job, kept, predictions),
            curves=tuple(curve for curve in curves if curve.points),
        ),
        {manipulated_key(spec): inputs for spec, inputs in found.items()},
        (*refused, *unsearched),
    )


def manipulated_key(spec: str) -> str:
    """Name of the tensor (radii, m, ...) of inputs that move an explainer's maps; see `searched_radii`."""
    return f"manipulated/{spec}"


def manipulated_rows(job: Job) -> Tensor:
    """The samples (m,) whose explanations are attacked."""
    return _rows(job, job.plan.manipulated or 0)


def searched_radii(job: Job) -> tuple[float, ...]:
    """The radii at which explanations are attacked: those of the plan up to eps."""
    return tuple(radius for radius in job.plan.curve or () if 0 < radius <= (job.plan.eps or 0))


def _rows(job: Job, count: int) -> Tensor:
    return permutation(len(job.data), job.plan.seed, "interpretability")[:count]


def _assess(job: Job, predictions: Tensor) -> tuple[Shard, list[str], tuple[NotMeasured, ...]]:
    """Trust and agreement on the first samples, the explainers that explain the model, and those that do not."""
    plan, rows = job.plan, _rows(job, job.plan.assessed)

    def work() -> Piece:
        x, targets = (part[rows].to(job.model.device) for part in (job.x, predictions))
        found = compare_explainers(job.model, x, targets, methods=plan.explainers, seed=plan.seed)
        trust = {
            spec: {**one.trust.figures(), "verdicts": dict(sorted(Counter(one.trust.verdicts).items()))}
            for spec, one in found.attributions.items()
        }
        return Piece({"agreement": found.agreement.mean(dim=0)}, {"trust": trust, "refused": dict(found.refused)})

    (shard,) = job.collect(_TRUST, {"assess": work})
    kept = [spec for spec in plan.explainers if spec not in shard.info["refused"]]
    return shard, kept, tuple(NotMeasured(what=what, reason=why) for what, why in shard.info["refused"].items())


def _quality(job: Job, kept: Sequence[str], predictions: Tensor) -> tuple[Quality, ...]:
    """Quality metrics on the first samples; by the planted evidence too, where the data tell where it is."""
    if not kept:
        return ()
    plan, rows = job.plan, _rows(job, job.plan.assessed)
    data = job.data.take(rows)

    def work() -> Piece:
        found = assess(
            job.model,
            job.x[rows].to(job.model.device),
            kept,
            (*DEFAULT_METRICS, *(_PLANTED if data.masks is not None else ())),
            targets=predictions[rows],
            masks=data.masks,
            seed=plan.seed,
        )
        return Piece({}, found.as_dict())

    (shard,) = job.collect(_QUALITY, {"quality": work})
    scores = {(one["metric"], one["method"]): one for one in shard.info["scores"]}
    better = {one["metric"]: one["higher_is_better"] for one in shard.info["scores"]}
    return tuple(
        Quality(
            metric=metric,
            higher_is_better=higher,
            scores=tuple(
                QualityScore(explainer=spec, score=_score(scores.get((metric, str(Spec.parse(spec)))))) for spec in kept
            ),
        )
        for metric, higher in better.items()
    )


def _score(found: Mapping[str, Any] | None) -> Estimate | None:
    if found is None or found["mean"] is None:
        return None
    interval = None if None in found["interval"] else tuple(found["interval"])
    return Estimate(mean=found["mean"], interval=interval)


def _attacked(job: Job, spec: str, predictions: Tensor, tensors: Mapping[str, Tensor]) -> ExplanationCurve:
    """Broken samples before and after: at each radius those whose example lies within it."""
    plan, radii = job.plan, job.plan.curve or ()
    worst, specs = worst_case(plan, tensors), measured(plan, tensors)
    order = _rows(job, len(job.data))
    at = worst.broken_at[order]
    rows = order[(at > 0) & (at < len(radii))][: plan.compared]
    if not len(rows):
        return ExplanationCurve(explainer=spec, cause="attack", points=())
    table = torch.stack([tensors[f"adversarials/{one}"] for one in specs])
    examples, targets = table[worst.which[rows], rows], predictions[rows]
    units = {
        f"moved-{plan.explainers.index(spec)}-attack-{part.start}": partial(
            _movement, job, spec, job.x[rows[part]], examples[None, part], targets[part]
        )
        for part in batches(len(rows), _PART)
    }
    figures = _joined(job.collect(_MOVEMENT, units))
    broken_at = worst.broken_at[rows]
    points = [
        _point(radius, {name: value[0, broken_at <= place] for name, value in figures.items()})
        for place, radius in enumerate(radii)
        if bool((broken_at <= place).any())
    ]
    return ExplanationCurve(explainer=spec, cause="attack", points=tuple(points))


def _at_radii(
    job: Job, spec: str, cause: Literal["noise", "manipulation"], predictions: Tensor, inputs: Tensor
) -> ExplanationCurve:
    """How far the maps of inputs (radii, m, ...) lie from those of the clean samples."""
    rows = manipulated_rows(job)
    units = {
        f"moved-{job.plan.explainers.index(spec)}-{cause}-{part.start}": partial(
            _movement, job, spec, job.x[rows[part]], inputs[:, part], predictions[rows[part]]
        )
        for part in batches(len(rows), _PART)
    }
    figures = _joined(job.collect(_MOVEMENT, units))
    points = [
        _point(radius, {name: value[place] for name, value in figures.items()})
        for place, radius in enumerate(searched_radii(job))
    ]
    return ExplanationCurve(explainer=spec, cause=cause, points=tuple(points))


def _manipulated(
    job: Job, kept: Sequence[str], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[NotMeasured, ...]]:
    """For each explainer the inputs (radii, m, ...) that move its maps furthest; those in ``tensors``, if any."""
    plan, rows = job.plan, manipulated_rows(job)
    if not len(rows) or not searched_radii(job):
        return {}, ()
    if job.model.task == "text":
        return {}, (NotMeasured(what="attacks on explanations", reason="token ids have no ball around them"),)
    found: dict[str, Tensor] = {}
    left_out: list[NotMeasured] = []
    for spec in kept:
        if manipulated_key(spec) in tensors:
            found[spec] = tensors[manipulated_key(spec)]
            continue
        units = {
            f"manipulate-{plan.explainers.index(spec)}-{part.start}": partial(_search, job, spec, rows[part])
            for part in batches(len(rows), _PART)
        }
        shards = job.collect(_MOVEMENT, units)
        if why := next((shard.info["refused"] for shard in shards if "refused" in shard.info), None):
            left_out.append(NotMeasured(what=f"attacks on {spec}", reason=why))
        else:
            found[spec] = torch.cat([shard.tensors["inputs"] for shard in shards], dim=1)
    return found, tuple(left_out)


def _search(job: Job, spec: str, rows: Tensor) -> Piece:
    """Inputs (radii, m, ...) that move the maps of some samples."""
    x = job.x[rows].to(job.model.device)
    found: list[Tensor] = []
    try:
        for radius in searched_radii(job):
            result = attack_explanation(
                job.model,
                x,
                threat=threat_at(job.plan, radius, job.model),
                method=spec,
                steps=_STEPS,
                start=found[-1] if found else None,
                seed=job.plan.seed,
            )
            found.append(result.inputs)
    except UnsupportedError as error:
        return Piece({}, {"refused": str(error)})
    return Piece({"inputs": torch.stack(found)})


def _noise(job: Job) -> Tensor:
    """A random point of the threat at each radius for each sample: (radii, m, ...)."""
    x = job.x[manipulated_rows(job)]
    rng = SampleRng(job.data.ids[manipulated_rows(job)], job.plan.seed, "noise on explanations")
    threats = [threat_at(job.plan, radius, job.model) for radius in searched_radii(job)]
    return torch.stack([one.sample(rng, x, job.model.bounds, step) for step, one in enumerate(threats)])


def _movement(job: Job, spec: str, x: Tensor, inputs: Tensor, targets: Tensor) -> Piece:
    """Figures (radii, m) of how far the maps of ``inputs`` (radii, m, ...) lie from those of ``x`` (m, ...)."""
    device, times = job.model.device, len(inputs)
    points = torch.cat([x, inputs.flatten(0, 1)]).to(device)
    found = explain(
        job.model, points, targets.repeat(times + 1).to(device), method=spec, seed=job.plan.seed, trust="quick"
    )
    values = found.values.cpu()
    before, after = values[: len(x)], values[len(x) :]
    before = before.repeat(times, *[1] * (before.ndim - 1))
    where = None
    if found.worded is not None:
        read = found.worded.cpu()
        where = read[: len(x)].repeat(times, 1) | read[len(x) :]
    figures = moved(before, after, where=where).figures()
    return Piece({name: value.view(times, len(x)) for name, value in figures.items()})


def _joined(shards: Sequence[Shard]) -> dict[str, Tensor]:
    """By name in one order, whether shards were just made or read."""
    return {name: torch.cat([shard.tensors[name] for shard in shards], dim=1) for name in sorted(shards[0].tensors)}


def _point(radius: float, figures: Mapping[str, Tensor]) -> MovedAt:
    return MovedAt(
        radius=radius,
        n=len(next(iter(figures.values()))),
        figures={name: _estimate(value) for name, value in figures.items()},
    )


def _estimate(values: Tensor) -> Estimate:
    interval = bootstrap_interval(values) if len(values) > 1 else None
    return Estimate(mean=float(values.mean()), interval=interval)
