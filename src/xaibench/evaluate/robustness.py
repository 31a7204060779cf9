"""The robustness stage: every attack over the whole range of radii, each success checked again; proofs; self-checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.evaluate.batches import batch_logits, batches
from xaibench.evaluate.hardness import Robustness
from xaibench.evaluate.job import Job
from xaibench.evaluate.minimal import nearest
from xaibench.evaluate.proofs import prove_standing
from xaibench.evaluate.results import NotMeasured
from xaibench.evaluate.selfcheck import self_check
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece, Shard
from xaibench.evaluate.tally import Effort, tally
from xaibench.robustness import StageResult, ensemble_names, evaluate_robustness
from xaibench.robustness.result import CLEAN
from xaibench.threats import Threat, contains
from xaibench.types import Classifier

__all__ = ["holds", "measure_robustness"]

Measured = tuple[Robustness | None, dict[str, Tensor], tuple[NotMeasured, ...]]

_BLOCK = 256
"""Samples per shard: an ensemble runs full batches of the rows that are left of them."""
_ELSEWHERE = {"verdict": "verdict-quick"}
"""What draws the rest of a curve: the costly search without gradients is made at eps alone."""


def measure_robustness(job: Job, logits: Tensor) -> Measured:
    """Robust accuracy by attack, the adversarial examples, and what could not be measured.

    An input that is broken at one radius is broken at every larger one, for the same example lies within them all; so
    the curves never rise, and radii are tried only where that does not say already what happens.
    """
    plan = job.plan
    predictions = logits.argmax(dim=1)
    tensors = {"ids": job.data.ids, "labels": job.data.labels, "predictions": predictions, "inputs": job.x}
    if plan.eps is None or plan.curve is None:
        return None, tensors, (NotMeasured(what="robustness", reason="the plan has no attacks"),)
    efforts: dict[str, list[Effort]] = {}
    left_out: list[NotMeasured] = []
    for position, spec in enumerate(plan.attacks):
        try:
            shards = _attack_all(job, position, spec, predictions == job.data.labels)
        except UnsupportedError as error:
            left_out.append(NotMeasured(what=spec, reason=str(error)))
            continue
        for name in ("broken_at", "adversarials", "predictions"):
            tensors[f"{name}/{spec}"] = torch.cat([shard.tensors[name] for shard in shards])
        efforts[spec] = _efforts(effort for shard in shards for effort in shard.info["efforts"])
        if spec in ensemble_names():
            tensors[f"stages/{spec}"] = _stages(shards, [effort.stage for effort in efforts[spec]])
            for effort in efforts[spec]:
                job.seconds[f"{spec}: {effort.stage}"] += effort.seconds
                job.passes[f"{spec}: {effort.stage}"] = effort.forward, effort.backward
        forward, backward = (sum(getattr(one, way) for one in efforts[spec]) for way in ("forward", "backward"))
        job.passes[spec] = forward, backward
    if not efforts:
        return None, tensors, tuple(left_out)
    tensors["proved_at"], tried, unproved = prove_standing(job, logits, tensors)
    robustness = tally(plan, job.model.task, job.data.class_names, tensors, efforts, tried=tried, unproved=unproved)
    minimal, examples, refused = nearest(job, predictions)
    checks, unchecked = self_check(job, tensors)
    return (
        robustness.model_copy(update={"minimal": minimal, "checks": checks}),
        {**tensors, **examples},
        (*left_out, *refused, *unchecked),
    )


def _attack_all(job: Job, position: int, spec: str, correct: Tensor) -> list[Shard]:
    # What costs much is probed at few radii; single steps are not sure to break more at larger ones.
    work = _bisect if job.model.task == "text" or spec in ensemble_names() else _climb
    units = {
        f"attack-{position}-{rows.start}": partial(work, job, spec, rows, correct[rows])
        for rows in batches(len(job.data), job.plan.batch_size or _BLOCK)
    }
    return job.collect(spec, units)


def _climb(job: Job, spec: str, rows: slice, correct: Tensor) -> Piece:
    """Attack the samples of one shard at rising radii until they break."""
    found = _Found(job, rows, correct)
    for position, radius in enumerate(job.plan.curve or ()):
        standing = (found.broken_at == len(found.radii)).nonzero().flatten()
        if radius and len(standing):
            found.attack(spec, position, standing)
    return found.piece()


def _bisect(job: Job, spec: str, rows: slice, correct: Tensor) -> Piece:
    """Attack the samples of one shard at eps, then at radii halfway between where they stood and where they broke."""
    found = _Found(job, rows, correct)
    stood = torch.zeros_like(found.broken_at)
    probe = torch.full_like(found.broken_at, found.radii.index(job.plan.eps or 0))
    while bool((left := found.broken_at - stood > 1).any()):
        for position in probe[left].unique().tolist():
            tried = (left & (probe == position)).nonzero().flatten()
            found.attack(spec, position, tried)
            held = tried[found.broken_at[tried] > position]
            stood[held] = position
        probe = (stood + found.broken_at) // 2
    return found.piece()


class _Found:
    """What is known of the samples of one shard so far."""

    def __init__(self, job: Job, rows: slice, correct: Tensor) -> None:
        self.job, self.radii = job, job.plan.curve or ()
        self.x, self.y, self.ids = job.x[rows], job.data.labels[rows], job.data.ids[rows]
        self.broken_at = torch.where(correct, len(self.radii), 0)
        self.adversarials, self.predictions = self.x.clone(), job.predict(self.x)
        self.stages = torch.full_like(self.y, -1)
        self.efforts: list[Effort] = []

    def attack(self, spec: str, position: int, rows: Tensor) -> None:
        """Attack these rows at one radius, and keep what broke at it."""
        radius = self.radii[position]
        headline = radius == self.job.plan.eps
        self.job.tell(radius=radius, standing=len(rows))
        result = evaluate_robustness(
            self.job.model,
            self.x[rows],
            self.y[rows],
            threat=threat_at(self.job.plan, radius, self.job.model),
            attack=spec if headline else _ELSEWHERE.get(spec, spec),
            seed=self.job.plan.seed,
            sample_ids=self.ids[rows],
            certify=False,
            checks=False,
            progress=lambda stage, _, __, info: self.job.tell(radius=radius, after=stage, **info),
        )
        self.efforts = _efforts([*map(asdict, self.efforts), *map(_effort, result.stages)])
        names = [effort.stage for effort in self.efforts]
        stage = torch.tensor([names.index(name) if name in names else -1 for name in result.broken_by])
        # A clean input on the very boundary may be read otherwise in another batch, which is no success.
        broken = ~result.robust & torch.tensor([name != CLEAN for name in result.broken_by])
        hit, at = rows[broken], torch.full((len(rows),), position)
        if self.job.model.task == "text":
            # Fewer edits may have been enough.
            at = torch.searchsorted(torch.tensor(self.radii, dtype=torch.float64), result.distance)
        self.broken_at[hit], self.stages[hit] = at[broken], stage[broken]
        self.adversarials[hit], self.predictions[hit] = result.adversarials[broken], result.predictions[broken]

    def piece(self) -> Piece:
        tensors = {
            "broken_at": self.broken_at,
            "adversarials": self.adversarials,
            "predictions": self.predictions,
            "stages": self.stages,
        }
        return Piece(tensors, {"efforts": list(map(asdict, self.efforts))})


def _effort(stage: StageResult) -> dict[str, Any]:
    return {
        "stage": stage.attack,
        "forward": stage.cost.forward,
        "backward": stage.cost.backward,
        "rejected": stage.rejected,
        "seconds": stage.cost.seconds,
        "note": stage.note,
    }


def _efforts(parts: Iterable[Mapping[str, Any]]) -> list[Effort]:
    """Those of the same stage added up, in the order in which they came first."""
    totals: dict[str, Effort] = {}
    for part in parts:
        one = Effort(**part)
        known = totals.setdefault(one.stage, Effort(stage=one.stage, note=one.note))
        for name in ("forward", "backward", "rejected", "seconds"):
            setattr(known, name, getattr(known, name) + getattr(one, name))
    return list(totals.values())


def _stages(shards: Sequence[Shard], names: Sequence[str]) -> Tensor:
    """Stage of each sample by its position among ``names``; shards count those that they came to."""
    parts = []
    for shard in shards:
        own = [names.index(effort["stage"]) for effort in shard.info["efforts"]]
        parts.append(torch.tensor([*own, -1])[shard.tensors["stages"]])
    return torch.cat(parts)


def holds(model: Classifier, found: Tensor, clean: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """Which adversarial examples (n, ...) are finite, within the threat and the box, and misclassified: bool (n,)."""
    finite = found.isfinite().flatten(1).all(dim=1)
    found = torch.where(finite.view(-1, *[1] * (found.ndim - 1)), found, clean)
    predictions = batch_logits(model, found.to(model.device)).argmax(dim=1).to(found.device)
    return finite & contains(threat, found, clean, model.bounds) & (predictions != labels)
