"""The explanation stage: a few samples, clean and attacked, by every explainer of the plan."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.evaluate.job import Job, batch_logits, batches
from xaibench.evaluate.results import ExplainedSample, Map, NotMeasured, View
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece
from xaibench.explainers import explain
from xaibench.registry import Spec
from xaibench.rng import permutation

__all__ = ["choose_samples", "explain_samples"]

_BATCH = 16

Explained = tuple[tuple[ExplainedSample, ...], dict[str, Tensor], tuple[NotMeasured, ...]]


def explain_samples(job: Job, logits: Tensor, adversarials: dict[str, Tensor]) -> Explained:
    """Explain the chosen samples; gives them, the values of their maps by key, and what could not be explained.

    Each view is explained for the class that the model predicts for it: what speaks for the right answer before, and
    for the wrong one after.
    """
    plan, data = job.plan, job.data
    attack_of = _breaking_attack(job, adversarials)
    chosen = choose_samples(logits.argmax(dim=1), data.labels, attack_of, count=plan.samples, seed=plan.seed)
    attacked = [row for row in chosen if attack_of[row] is not None]
    views = {"clean": (chosen, job.data.take(chosen).inputs)}
    if attacked:
        views["attacked"] = (attacked, torch.stack([adversarials[f"adversarials/{attack_of[i]}"][i] for i in attacked]))
    sides = {}
    left_out: dict[str, NotMeasured] = {}
    values: dict[str, Tensor] = {}
    for side, (rows, inputs) in views.items():
        x = inputs if isinstance(inputs, Tensor) else job.model.encode(inputs)
        sides[side] = _View(job, side, rows, x.to(job.model.device))
        for position, spec in enumerate(plan.explainers):
            try:
                sides[side].explain(position, spec, values)
            except UnsupportedError as error:
                left_out[spec] = NotMeasured(what=spec, reason=str(error))
    samples = tuple(_sample(job, row, attack_of[row], sides, values) for row in chosen)
    return samples, values, tuple(left_out.values())


def choose_samples(
    predictions: Tensor, labels: Tensor, attack_of: list[str | None], *, count: int, seed: int
) -> list[int]:
    """Rows worth a look: correct ones that an attack broke, then other correct ones, then mistakes; classes in turn."""
    turns: dict[tuple[int, int], int] = defaultdict(int)
    order = []
    for place, row in enumerate(permutation(len(labels), seed, "explained samples").tolist()):
        label = int(labels[row])
        rank = 2 if int(predictions[row]) != label else 1 if attack_of[row] is None else 0
        order.append((rank, turns[rank, label], place, row))
        turns[rank, label] += 1
    return [row for *_, row in sorted(order)[:count]]


class _View:
    """One side of the comparison: inputs (m, ...) at these rows, their predictions and maps."""

    def __init__(self, job: Job, side: str, rows: list[int], x: Tensor) -> None:
        self.job, self.side, self.rows, self.x = job, side, rows, x
        probabilities = (
            torch.cat([batch_logits(job.model, x[part]) for part in batches(len(rows), _BATCH)]).softmax(dim=1)
            if rows
            else torch.zeros(0, 1)
        )
        self.confidence, self.prediction = probabilities.max(dim=1)
        self.maps: dict[int, list[Map]] = defaultdict(list)

    def explain(self, position: int, spec: str, values: dict[str, Tensor]) -> None:
        units = {
            f"explain-{position}-{self.side}-{part.start}": partial(self._work, spec, part)
            for part in batches(len(self.rows), _BATCH)
        }
        shards = self.job.collect(f"explain {self.side}: {Spec.parse(spec).name}", units)
        for part, shard in zip(batches(len(self.rows), _BATCH), shards, strict=True):
            for offset, place in enumerate(range(part.start, part.stop)):
                row = self.rows[place]
                key = f"{self.side}/{spec}/{int(self.job.data.ids[row])}"
                gap = shard.tensors.get("completeness_gap")
                values[key] = shard.tensors["values"][offset]
                self.maps[row].append(
                    Map(
                        explainer=spec,
                        params=shard.info["params"],
                        target=int(self.prediction[place]),
                        key=key,
                        completeness_gap=None if gap is None else float(gap[offset]),
                    )
                )

    def _work(self, spec: str, part: slice) -> Piece:
        targets = self.prediction[part].to(self.x.device)
        found = explain(self.job.model, self.x[part], targets, method=spec, seed=self.job.plan.seed)
        tensors = {"values": found.values.float()}
        if found.completeness_gap is not None:
            tensors["completeness_gap"] = found.completeness_gap
        return Piece(tensors, {"params": dict(found.params)})

    def at(self, row: int) -> Tensor:
        """The input (1, ...) at this row."""
        place = self.rows.index(row)
        return self.x[place : place + 1]

    def view(self, row: int) -> View:
        place = self.rows.index(row)
        return View(
            prediction=int(self.prediction[place]),
            confidence=float(self.confidence[place]),
            maps=tuple(self.maps[row]),
        )


def _breaking_attack(job: Job, adversarials: dict[str, Tensor]) -> list[str | None]:
    """For each sample the last attack of the plan that broke it, None where none did or it was wrong before."""
    found: list[str | None] = [None] * len(job.data)
    for spec in job.plan.attacks:
        if f"predictions/{spec}" in adversarials:
            broken = adversarials[f"predictions/{spec}"] != job.data.labels
            correct = adversarials["predictions"] == job.data.labels
            for row in (broken & correct).nonzero().flatten().tolist():
                found[row] = spec
    return found


def _sample(
    job: Job, row: int, attack: str | None, sides: dict[str, _View], values: dict[str, Tensor]
) -> ExplainedSample:
    details: dict[str, Any] = {}
    clean = sides["clean"].view(row)
    if attack is not None:
        attacked = sides["attacked"].view(row)
        before, after = sides["clean"].at(row), sides["attacked"].at(row)
        distance = threat_at(job.plan, job.plan.eps or 0, job.model).distance(after, before)
        pairs = {map_.explainer: (map_.key, also.key) for map_, also in zip(clean.maps, attacked.maps, strict=True)}
        details = {
            "attacked": attacked,
            "attack": attack,
            "distance": float(distance),
            "agreement": {spec: _rank_correlation(values[a], values[b]) for spec, (a, b) in pairs.items()},
        }
    if job.model.task == "text":
        details["tokens"] = tuple(job.model.tokens(sides["clean"].at(row))[0])
    return ExplainedSample(
        id=int(job.data.ids[row]), index=row, label=int(job.data.labels[row]), clean=clean, **details
    )


def _rank_correlation(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation, ties counting half; 0 where one of the maps is constant."""
    ranks = torch.stack([_ranks(one.flatten()), _ranks(other.flatten())])
    deviation = ranks - ranks.mean(dim=1, keepdim=True)
    scale = deviation.norm(dim=1).prod()
    return float(deviation.prod(dim=0).sum() / scale) if scale > 0 else 0.0


def _ranks(values: Tensor) -> Tensor:
    _, place, ties = values.unique(return_inverse=True, return_counts=True)
    return (ties.cumsum(0).double() - (ties - 1) / 2)[place]
