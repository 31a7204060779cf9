"""Which method explains a model best: by the planted evidence where that is known, else by faithfulness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import explainers
from xaibench.metrics.intervals import bootstrap_means
from xaibench.quality.assess import Assessment, Score, assess
from xaibench.registry import Spec
from xaibench.rng import permutation
from xaibench.types import Classifier, Progress

__all__ = ["Ranked", "Ranking", "rank_explainers"]

_EVIDENCE = ("relevance_rank", "relevance_mass", "pointing_game", "mask_auc")
_FAITHFULNESS = ("faithfulness_correlation", "insertion", "deletion")


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """A method's place."""

    place: int
    method: str
    score: Score
    """By the metric that orders."""
    first: float
    """Share of the bootstrap's redrawn samples on which it comes first."""
    tied: bool
    """Whether it does as well as the method before it on more than 2.5 % of the redrawn samples."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Methods from the best to the worst."""

    by: str
    """The metric that orders."""
    rows: tuple[Ranked, ...]
    assessment: Assessment
    left_out: int
    """Samples that were not looked at, for the model gets them wrong, so that their evidence is for another class."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        rows = [{"place": row.place, "method": row.method, "first": row.first, "tied": row.tied} for row in self.rows]
        return {"by": self.by, "ranking": rows, "left_out": self.left_out, **self.assessment.as_dict()}


def rank_explainers(
    model: Classifier,
    data: Data,
    methods: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    *,
    by: str | None = None,
    n: int = 32,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Ranking:
    """Order explainers, by default all that apply, by a metric on ``n`` samples of the data, drawn by the seed.

    Where the data have masks of the evidence, samples that the model gets right are explained, and ``by`` is
    ``relevance_rank``: the share of the evidence among as many pixels, those with the greatest values. Elsewhere it is
    ``faithfulness_correlation``. ``metrics`` are shown beside it. In ``folder``, if given, finished methods are kept,
    and found there again. Raises `InputError` for unknown names, and where no method applies.
    """
    planted = data.masks is not None
    extra = ("spurious_mass",) if data.spurious_masks is not None else ()
    metrics = tuple(metrics or ((*_EVIDENCE, *extra) if planted else _FAITHFULNESS))
    by = by or metrics[0]
    if by not in metrics:
        metrics = (by, *metrics)
    rows, left_out = _choose(model, data, n, seed)
    chosen = data.take(rows)
    names = tuple(methods) if methods else _ready()
    found = assess(
        model,
        chosen.inputs,
        names,
        metrics,
        masks=chosen.masks,
        spurious_masks=chosen.spurious_masks,
        seed=seed,
        folder=folder,
        progress=progress,
    )
    by = str(Spec.parse(by))
    return Ranking(by=by, rows=_ordered(found, by, seed), assessment=found, left_out=left_out)


def _ready() -> tuple[str, ...]:
    """Explainers that need nothing to be said."""

    def complete(name: str) -> bool:
        try:
            explainers.create(name)
        except InputError:
            return False
        return True

    return tuple(filter(complete, explainers.names()))


def _choose(model: Classifier, data: Data, n: int, seed: int) -> tuple[Tensor, int]:
    """Rows to explain, and how many of those drawn are left out as wrong."""
    if n < 2 or len(data) < 2:
        raise InputError(f"expected `n` >= 2 and two samples or more, got {n} and {len(data)}")
    rows = permutation(len(data), seed, "ranked samples")[:n]
    if data.masks is None:
        return rows, 0
    drawn = data.take(rows)
    right = model.predict(drawn.inputs).cpu() == drawn.labels
    if int(right.sum()) < 2:
        count = int(right.sum())
        raise UnsupportedError(f"the model gets {count} of {len(rows)} samples right: a ranking needs two or more")
    return rows[right], int((~right).sum())


def _ordered(found: Assessment, by: str, seed: int) -> tuple[Ranked, ...]:
    scores = [one for method in found.methods if (one := found.score(method, by)) is not None]
    scores = [one for one in scores if one.mean == one.mean]
    if not scores:
        reasons = "; ".join(f"{one.method}: {one.reason}" for one in found.refused[:3])
        raise UnsupportedError(f"no method has a {by}: {reasons or 'it is defined for no sample'}")
    sign = 1.0 if scores[0].higher_is_better else -1.0
    scores.sort(key=lambda one: -sign * one.mean)
    means = sign * bootstrap_means(torch.stack([one.values for one in scores], dim=1), seed=seed)
    first = means.nan_to_num(-torch.inf).argmax(dim=1).bincount(minlength=len(scores)) / len(means)
    return tuple(
        Ranked(
            place=place + 1,
            method=score.method,
            score=score,
            first=float(first[place]),
            tied=place > 0 and float((means[:, place] >= means[:, place - 1]).double().mean()) > 0.025,
        )
        for place, score in enumerate(scores)
    )
