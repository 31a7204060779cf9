"""The explanation stage: a few samples, clean and attacked, by every explainer of the plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.evaluate.batches import batch_logits, batches
from xaibench.evaluate.job import Job
from xaibench.evaluate.results import ExplainedSample, Map, NotMeasured, View
from xaibench.evaluate.settle import threat_at
from xaibench.evaluate.shards import Piece, Shard
from xaibench.evaluate.tally import measured
from xaibench.explainers import explain
from xaibench.metrics import rank_correlation
from xaibench.rng import permutation

__all__ = ["choose_samples", "explain_samples"]

_BATCH = 16

Explained = tuple[tuple[ExplainedSample, ...], dict[str, Tensor], tuple[NotMeasured, ...]]


def explain_samples(job: Job, logits: Tensor, adversarials: Mapping[str, Tensor]) -> Explained:
    """Explain the chosen samples; gives them, the values of their maps by key, and what could not be explained.

    Each view is explained for the class that the model predicts for it: what speaks for the right answer before, and
    for the wrong one after. So that the two can be compared, the attacked input is explained for the class of the
    clean one as well.
    """
    plan, data, predictions = job.plan, job.data, logits.argmax(dim=1)
    if not plan.samples:
        return (), {}, ()
    attack_of = _breaking_attack(job, adversarials)
    chosen = choose_samples(predictions, data.labels, attack_of, count=plan.samples, seed=plan.seed)
    sides = {"clean": _Side(job, "clean", chosen, job.x[chosen])}
    if attacked := [row for row in chosen if attack_of[row] is not None]:
        x = torch.stack([adversarials[f"adversarials/{attack_of[row]}"][row] for row in attacked])
        sides["attacked"] = _Side(job, "attacked", attacked, x)
        sides["compared"] = _Side(job, "compared", attacked, x, targets=predictions[attacked])
    values, left_out = _explain_sides(job, tuple(sides.values()))
    return tuple(_sample(job, row, attack_of[row], sides, values) for row in chosen), values, left_out


def _explain_sides(job: Job, sides: tuple[_Side, ...]) -> tuple[dict[str, Tensor], tuple[NotMeasured, ...]]:
    """Fill the maps of all sides; gives their values, and the explainers that the model refused."""
    work = [
        (side, spec, part, f"explain-{position}-{side.name}-{part.start}")
        for position, spec in enumerate(job.plan.explainers)
        for side in sides
        for part in batches(len(side.rows), _BATCH)
    ]
    shards = job.collect("explain", {name: partial(side.work, spec, part) for side, spec, part, name in work})
    refused = {
        spec: NotMeasured(what=spec, reason=shard.info["refused"])
        for (_, spec, _, _), shard in zip(work, shards, strict=True)
        if "refused" in shard.info
    }
    values: dict[str, Tensor] = {}
    for (side, spec, part, _), shard in zip(work, shards, strict=True):
        if spec not in refused:
            values.update(side.take(spec, part, shard))
    return values, tuple(refused.values())


def choose_samples(
    predictions: Tensor, labels: Tensor, attack_of: list[str | None], *, count: int, seed: int
) -> list[int]:
    """Rows worth a look: correct ones that an attack broke, then other correct ones, then mistakes; classes in turn.

    Of four or more one is correct and unbroken, and one a mistake, where there are such.
    """
    turns: dict[tuple[int, int], int] = defaultdict(int)
    order = []
    for place, row in enumerate(permutation(len(labels), seed, "explained samples").tolist()):
        label = int(labels[row])
        rank = 2 if int(predictions[row]) != label else 1 if attack_of[row] is None else 0
        order.append((rank, turns[rank, label], place, row))
        turns[rank, label] += 1
    ranked = sorted(order)
    last = [next(([one] for one in ranked if one[0] == rank), []) for rank in (1, 2)] if count >= 4 else []
    kept = [one for part in last for one in part]
    first = [one for one in ranked if one not in kept][: count - len(kept)]
    return [row for *_, row in sorted([*first, *kept])]


class _Side:
    """Inputs ``x`` (m, ...) at some rows, explained for ``targets`` (m,), the predicted classes if not given."""

    def __init__(self, job: Job, name: str, rows: list[int], x: Tensor, targets: Tensor | None = None) -> None:
        self.job, self.name, self.rows, self.x = job, name, rows, x.to(job.model.device)
        logits = [batch_logits(job.model, self.x[part]) for part in batches(len(rows), _BATCH)]
        self.confidence, self.prediction = torch.cat(logits).softmax(dim=1).max(dim=1)
        self.targets = self.prediction if targets is None else targets
        self.maps: dict[int, list[Map]] = defaultdict(list)

    def work(self, spec: str, part: slice) -> Piece:
        """Explain some of the inputs; a refusal is a result too."""
        targets, seed = self.targets[part].to(self.x.device), self.job.plan.seed
        checks: Literal["full", "quick"] = "full" if self.name == "clean" else "quick"
        try:
            found = explain(self.job.model, self.x[part], targets, method=spec, seed=seed, trust=checks)
        except UnsupportedError as error:
            return Piece({}, {"refused": str(error)})
        gap = {} if found.completeness_gap is None else {"completeness_gap": found.completeness_gap}
        verdicts = [found.trust.at(row).verdict for row in range(len(targets))] if checks == "full" else None
        return Piece({"values": found.values.float(), **gap}, {"params": dict(found.params), "verdicts": verdicts})

    def take(self, spec: str, part: slice, shard: Shard) -> dict[str, Tensor]:
        """Keep the maps of a shard; gives their values by key."""
        gaps, verdicts, values = shard.tensors.get("completeness_gap"), shard.info["verdicts"], {}
        for offset, place in enumerate(range(part.start, part.stop)):
            row = self.rows[place]
            key = f"{self.name}/{spec}/{int(self.job.data.ids[row])}"
            values[key] = shard.tensors["values"][offset]
            self.maps[row].append(
                Map(
                    explainer=spec,
                    params=shard.info["params"],
                    target=int(self.targets[place]),
                    key=key,
                    completeness_gap=None if gaps is None else float(gaps[offset]),
                    verdict=None if verdicts is None else verdicts[offset],
                )
            )
        return values

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


def _breaking_attack(job: Job, adversarials: Mapping[str, Tensor]) -> list[str | None]:
    """For each sample the last attack of the plan that broke it at eps; None where none did or it was wrong before."""
    found: list[str | None] = [None] * len(job.data)
    for spec in measured(job.plan, adversarials):
        broken_at = adversarials[f"broken_at/{spec}"]
        index = (job.plan.curve or ()).index(job.plan.eps or 0)
        for row in ((broken_at > 0) & (broken_at <= index)).nonzero().flatten().tolist():
            found[row] = spec
    return found


def _sample(
    job: Job, row: int, attack: str | None, sides: dict[str, _Side], values: dict[str, Tensor]
) -> ExplainedSample:
    details: dict[str, Any] = {}
    clean = sides["clean"].view(row)
    if attack is not None:
        attacked = sides["attacked"].view(row)
        before, after = sides["clean"].at(row), sides["attacked"].at(row)
        distance = threat_at(job.plan, job.plan.eps or 0, job.model).distance(after, before)
        pairs = {
            map_.explainer: (map_.key, also.key)
            for map_, also in zip(clean.maps, sides["compared"].maps[row], strict=True)
        }
        details = {
            "attacked": attacked,
            "attack": attack,
            "distance": float(distance),
            "agreement": {
                spec: float(rank_correlation(values[a][None], values[b][None])) for spec, (a, b) in pairs.items()
            },
        }
    if job.model.task == "text":
        details["tokens"] = tuple(job.model.tokens(sides["clean"].at(row))[0])
        if attack is not None:
            details["attacked_tokens"] = tuple(job.model.tokens(sides["attacked"].at(row))[0])
    return ExplainedSample(
        id=int(job.data.ids[row]), index=row, label=int(job.data.labels[row]), clean=clean, **details
    )
