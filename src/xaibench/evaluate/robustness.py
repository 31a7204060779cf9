"""The robustness stage: every attack over the whole range of radii, each success checked again."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor

from xaibench.attacks import Attack, attacks
from xaibench.errors import UnsupportedError
from xaibench.evaluate.batches import batch_logits
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import Curve, NotMeasured, Robustness
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece, Shard
from xaibench.metrics import wilson_interval
from xaibench.registry import Spec
from xaibench.threats import Threat, contains
from xaibench.types import Classifier

__all__ = ["holds", "measure_robustness"]

Measured = tuple[Robustness | None, dict[str, Tensor], tuple[NotMeasured, ...]]

_UNITS = {"image": "input units", "tabular": "share of each feature's range"}


def measure_robustness(job: Job, logits: Tensor) -> Measured:
    """Robust accuracy by attack, the adversarial examples at eps, and what could not be measured.

    An input that is broken at one radius is broken at every larger one, for the same example lies within them all; so
    the curves never rise, and larger radii are tried only on what still stands.
    """
    plan, data = job.plan, job.data
    tensors = {"ids": data.ids, "labels": data.labels, "predictions": logits.argmax(dim=1)}
    if isinstance(data.inputs, Tensor):
        tensors["inputs"] = data.inputs
    if job.model.task == "text":
        return None, tensors, (NotMeasured(what="robustness", reason="attacks on text are not measured yet"),)
    if plan.eps is None or plan.curve is None:
        return None, tensors, (NotMeasured(what="robustness", reason="the plan has no attacks"),)
    curves: list[Curve] = []
    broken: list[Tensor] = []
    left_out: list[NotMeasured] = []
    for position, spec in enumerate(plan.attacks):
        try:
            shards = _attack_all(job, position, spec, logits)
        except UnsupportedError as error:
            left_out.append(NotMeasured(what=spec, reason=str(error)))
            continue
        broken.append(torch.cat([shard.tensors["broken_at"] for shard in shards]))
        tensors[f"adversarials/{spec}"] = torch.cat([shard.tensors["adversarials"] for shard in shards])
        tensors[f"predictions/{spec}"] = torch.cat([shard.tensors["predictions"] for shard in shards])
        rejected = sum(shard.info["rejected"] for shard in shards)
        params = asdict(attacks.create(Spec.parse(spec)))  # type: ignore[call-overload]
        curves.append(_curve(spec, broken[-1], len(plan.curve), params=params, rejected=rejected))
    if not curves:
        return None, tensors, tuple(left_out)
    worst = torch.stack(broken).amin(dim=0)
    robustness = Robustness(
        norm=plan.norm,
        eps=plan.eps,
        unit="number of changed features" if plan.norm == "l0" else _UNITS[job.model.task],
        radii=plan.curve,
        curves=tuple(curves),
        worst_case=_curve("worst-case", worst, len(plan.curve)),
    )
    return robustness, tensors, tuple(left_out)


def _attack_all(job: Job, position: int, spec: str, logits: Tensor) -> list[Shard]:
    method = attacks.create(Spec.parse(spec))
    correct = logits.argmax(dim=1) == job.data.labels
    units = {
        f"attack-{position}-{rows.start}": partial(_attack_rows, job, method, rows, correct[rows])
        for rows in job.batches()
    }
    return job.collect(Spec.parse(spec).name, units)


def _attack_rows(job: Job, method: Attack, rows: slice, correct: Tensor) -> Piece:
    """Attack the samples of one shard at rising radii until they break.

    ``broken_at`` (n,) is the position of the first radius at which a sample is misclassified (0: without an attack),
    and the number of radii where none does it.
    """
    plan, model = job.plan, job.model
    radii = plan.curve or ()
    x = job.inputs(rows)
    y, ids = job.data.labels[rows].to(x.device), job.data.ids[rows].to(x.device)
    broken_at = torch.where(correct.to(x.device), len(radii), 0)
    adversarials, rejected = x.clone(), 0
    for position, radius in enumerate(radii):
        active = (broken_at == len(radii)).nonzero().flatten()
        if not radius or not len(active):
            continue
        threat = threat_at(plan, radius, model)
        found = method(model, x[active], y[active], threat, ids=ids[active], seed=plan.seed)
        success = holds(model, found, x[active], y[active], threat)
        rejected += int(((found != x[active]).flatten(1).any(dim=1) & ~success).sum())
        broken_at[active[success]] = position
        if radius <= (plan.eps or 0):
            adversarials[active[success]] = found[success]
    tensors = {"broken_at": broken_at, "adversarials": adversarials, "predictions": _predict(model, adversarials)}
    return Piece(tensors, {"rejected": rejected})


def holds(model: Classifier, found: Tensor, clean: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """Which adversarial examples (n, ...) are finite, within the threat and the box, and misclassified: bool (n,)."""
    finite = found.isfinite().flatten(1).all(dim=1)
    found = torch.where(finite.view(-1, *[1] * (found.ndim - 1)), found, clean)
    return finite & contains(threat, found, clean, model.bounds) & (_predict(model, found) != labels)


def _predict(model: Classifier, x: Tensor) -> Tensor:
    return batch_logits(model, x).argmax(dim=1).to(x.device)


def _curve(
    attack: str, broken_at: Tensor, radii: int, *, params: dict[str, object] | None = None, rejected: int = 0
) -> Curve:
    n = len(broken_at)
    robust = tuple(int((broken_at > position).sum()) for position in range(radii))
    return Curve(
        attack=attack,
        params=params or {},
        robust=robust,
        accuracy=tuple(count / n for count in robust),
        interval=tuple(wilson_interval(count, n) for count in robust),
        rejected=rejected,
    )
