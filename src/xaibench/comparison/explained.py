"""Figures of two classifiers about their explanations: faithfulness, randomisation, alignment, movement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from xaibench.comparison.attackers import MOVING
from xaibench.comparison.pair import Pair, threat_of
from xaibench.comparison.paired import paired_figure
from xaibench.comparison.results import GRADIENT, PairedFigure
from xaibench.errors import UnsupportedError
from xaibench.evaluate.job import Job
from xaibench.evaluate.shards import Piece, Shard
from xaibench.explainers import explain
from xaibench.manipulation import attack_explanation, moved
from xaibench.metrics import edge_correlation, quality_metrics
from xaibench.quality import assess
from xaibench.registry import Spec
from xaibench.rng import SampleRng

__all__ = ["Maps", "choose", "explanation_figures", "explanation_maps", "movement_figures"]

_METRICS = ("faithfulness_correlation", "insertion", "deletion", "cascading_randomisation")
_EDGES = "edge_correlation"
_MOVING = "attacks on explanations"
_MOVED = {"top_k_overlap": "top_places_kept", "rank_correlation": "ranks_kept"}
"""Figures of `Movement` that are paired, and their names here, after which stands the cause."""


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Attributions of the same samples by both models, for the true class, which both predict."""

    rows: tuple[int, ...]
    methods: tuple[str, ...]
    values: tuple[dict[str, Tensor], dict[str, Tensor]]
    """By method, (m, ...), for each model."""
    moved: tuple[dict[str, Tensor], dict[str, Tensor]]
    """As ``values``, after the search that moves a map; without the methods that it was not made for."""
    kept: tuple[dict[str, Tensor], dict[str, Tensor]]
    """Of ``moved``, the share (m,) of top places that are left."""
    confidence: tuple[tuple[float, ...], tuple[float, ...]]
    tokens: tuple[tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]] | None
    """For text, the words that values stand for."""


def explanation_figures(pair: Pair, methods: Sequence[str], count: int) -> list[PairedFigure]:
    """Quality metrics of each explainer on samples that both get right, explained for their true class."""
    rows = pair.shared[:count]
    if len(rows) < 2:
        if count:
            pair.skip("quality of explanations", "fewer than two samples are classified correctly by both")
        return []
    specs = [str(Spec.parse(method)) for method in methods]
    key = f"explained-{len(rows)}-{_joined(specs)}"
    first, second = pair.each("quality of explanations", key, partial(_assessed, rows=rows, specs=specs))
    _note_refusals(pair, "quality of explanations", (first, second))
    figures = []
    for name in sorted(first.tensors.keys() & second.tensors.keys(), key=lambda name: _place(name, specs)):
        metric, method = name.split("/", 1)
        better = None
        if metric in quality_metrics:
            better = "higher" if quality_metrics.create(metric).higher_is_better else "lower"
        figures.append(
            paired_figure(
                "explanations",
                metric,
                first.tensors[name],
                second.tensors[name],
                better=better,
                method=method,
                seed=pair.seed,
            )
        )
    return [figure for figure in figures if figure]


def _assessed(job: Job, *, rows: Tensor, specs: Sequence[str]) -> Piece:
    """Values (m,) by metric and method, and what was refused."""
    x, labels = job.x[rows].to(job.model.device), job.data.labels[rows]
    found = assess(job.model, x, specs, _METRICS, targets=labels, seed=job.plan.seed)
    aligned = assess(job.model, x, GRADIENT, "input_alignment", targets=labels, seed=job.plan.seed)
    tensors = {f"{one.metric}/{one.method}": one.values for one in (*found.scores, *aligned.scores)}
    refused = {f"{one.metric or 'quality'} of {one.method}": one.reason for one in (*found.refused, *aligned.refused)}
    if job.model.task == "image" and aligned.methods:
        gradient = explain(job.model, x, labels, method=GRADIENT, seed=job.plan.seed, trust="quick")
        tensors[f"{_EDGES}/{GRADIENT}"] = edge_correlation(gradient.values, x)
    return Piece(tensors, {"refused": refused})


def movement_figures(pair: Pair, methods: Sequence[str], count: int) -> list[PairedFigure]:
    """How much of each explainer's maps is left at eps: after random noise, and after a search for what moves them.

    The prediction stays as it was under the search, whose result is a bound from above on what is left.
    """
    what = _MOVING
    rows = pair.shared[:count]
    if not count or not pair.attacked:
        return []
    if pair.task == "text":
        pair.skip(what, "token ids have no ball around them")
        return []
    if len(rows) < 2:
        pair.skip(what, "fewer than two samples are classified correctly by both")
        return []
    figures: list[PairedFigure | None] = []
    for method in map(str, map(Spec.parse, methods)):
        for cause in _CAUSES:
            shards = _moved(pair, cause, rows, method)
            if _note_refusals(pair, what, shards):
                continue
            figures += [
                paired_figure(
                    "movement",
                    f"{name}_under_{cause}",
                    shards[0].tensors[measured],
                    shards[1].tensors[measured],
                    better="higher",
                    method=method,
                    seed=pair.seed,
                )
                for measured, name in _MOVED.items()
            ]
    return [figure for figure in figures if figure]


def _moved(pair: Pair, cause: str, rows: Tensor, method: str) -> tuple[Shard, Shard]:
    work = partial(_CAUSES[cause], rows=rows, method=method)
    return pair.each(_MOVING, f"moved-by-{cause}-{len(rows)}-{_joined([method])}", work)


def _noised(job: Job, *, rows: Tensor, method: str) -> Piece:
    x, labels = job.x[rows], job.data.labels[rows]
    rng = SampleRng(job.data.ids[rows], job.plan.seed, "noise on explanations")
    points = torch.cat([x, threat_of(job).sample(rng, x, job.model.bounds, 0)]).to(job.model.device)
    try:
        found = explain(job.model, points, labels.repeat(2), method=method, seed=job.plan.seed, trust="quick")
    except UnsupportedError as error:
        return Piece({}, {"refused": {f"movement of {method}": str(error)}})
    values = found.values.cpu()
    return Piece(moved(values[: len(x)], values[len(x) :]).figures())


def _searched(job: Job, *, rows: Tensor, method: str) -> Piece:
    x = job.x[rows].to(job.model.device)
    try:
        found = attack_explanation(job.model, x, threat=threat_of(job), method=method, steps=MOVING, seed=job.plan.seed)
    except UnsupportedError as error:
        return Piece({}, {"refused": {f"movement of {method}": str(error)}})
    return Piece({**found.movement.figures(), "after": found.after.float()})


_CAUSES = {"noise": _noised, "search": _searched}


def choose(shared: Tensor, labels: Tensor, broken: tuple[Tensor, Tensor] | None, count: int) -> Tensor:
    """Samples to look at, of those that both get right: first those where one model alone broke; classes in turn."""
    turns: dict[tuple[bool, int], int] = {}
    order = []
    for place, row in enumerate(shared.tolist()):
        alike = broken is None or bool(broken[0][row]) == bool(broken[1][row])
        turn = turns[alike, int(labels[row])] = turns.get((alike, int(labels[row])), -1) + 1
        order.append((alike, turn, place, row))
    return torch.tensor(sorted(row for *_, row in sorted(order)[:count]), dtype=torch.long)


def explanation_maps(pair: Pair, methods: Sequence[str], rows: Tensor, searched: Tensor) -> Maps | None:
    """Attributions of samples by both models, by the explainers that neither refuses; None where there are none.

    ``searched`` are the samples whose maps `movement_figures` moved, in its order: all of ``rows``, or none.
    """
    if not len(rows):
        return None
    specs = [str(Spec.parse(method)) for method in methods]
    key = f"maps-{_joined([*specs, *map(str, rows.tolist())])}"
    shards = pair.each("explanations", key, partial(_mapped, rows=rows, specs=specs))
    _note_refusals(pair, "explanations", shards)
    methods = [spec for spec in specs if all(spec in shard.tensors for shard in shards)]
    if not methods:
        return None
    moved: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    kept: tuple[dict[str, Tensor], dict[str, Tensor]] = ({}, {})
    if len(searched):
        places = [searched.tolist().index(row) for row in rows.tolist()]
        for spec in methods:
            found = _moved(pair, "search", searched, spec)
            if all("after" in shard.tensors for shard in found):
                for side, shard in enumerate(found):
                    moved[side][spec] = shard.tensors["after"][places]
                    kept[side][spec] = shard.tensors["top_k_overlap"][places]
    sure = [logits[rows].double().softmax(dim=1).amax(dim=1).tolist() for logits in pair.logits]
    tokens = None
    if pair.task == "text":
        read = [job.model.tokens(job.x[rows].to(job.model.device)) for job in pair.jobs]
        tokens = (tuple(map(tuple, read[0])), tuple(map(tuple, read[1])))
    return Maps(
        rows=tuple(rows.tolist()),
        methods=tuple(methods),
        values=(
            {spec: shards[0].tensors[spec] for spec in methods},
            {spec: shards[1].tensors[spec] for spec in methods},
        ),
        moved=moved,
        kept=kept,
        confidence=(tuple(sure[0]), tuple(sure[1])),
        tokens=tokens,
    )


def _mapped(job: Job, *, rows: Tensor, specs: Sequence[str]) -> Piece:
    x, labels = job.x[rows].to(job.model.device), job.data.labels[rows]
    tensors, refused = {}, {}
    for spec in specs:
        try:
            found = explain(job.model, x, labels, method=spec, seed=job.plan.seed, trust="quick")
        except UnsupportedError as error:
            refused[f"maps of {spec}"] = str(error)
            continue
        tensors[spec] = found.values.float()
    return Piece(tensors, {"refused": refused})


def _note_refusals(pair: Pair, what: str, shards: tuple[Shard, Shard]) -> bool:
    """Note what either model refused; whether it refused anything."""
    refused = [(name, *one) for name, shard in zip(pair.names, shards, strict=True) for one in _refusals(shard)]
    for name, which, reason in refused:
        pair.skip(f"{what}, {which} ({name})", reason)
    return bool(refused)


def _refusals(shard: Shard) -> list[tuple[str, str]]:
    return list(shard.info.get("refused", {}).items())


def _place(name: str, specs: Sequence[str]) -> tuple[int, int, str]:
    """Methods in their order, metrics of each in theirs."""
    metric, method = name.split("/", 1)
    known = method in specs and metric in _METRICS
    return (specs.index(method) if known else len(specs), _METRICS.index(metric) if known else 0, name)


def _joined(parts: Sequence[str]) -> str:
    """A short name of a file for some specs and numbers."""
    import hashlib

    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
