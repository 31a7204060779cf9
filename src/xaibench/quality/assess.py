"""Every method measured by every metric, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from xaibench.errors import InputError, UnsupportedError, first_line
from xaibench.explainers import Explainer, explainers, memory_budget
from xaibench.explainers.base import Targets
from xaibench.explainers.budget import DEFAULT_BUDGET
from xaibench.metrics.case import QualityMetric, quality_metrics
from xaibench.metrics.intervals import bootstrap_interval
from xaibench.quality.bench import Bench
from xaibench.quality.kept import Kept, Measured
from xaibench.registry import Spec
from xaibench.rng import check_seed
from xaibench.types import Classifier, Inputs, Progress, check_classifier

__all__ = ["DEFAULT_METRICS", "Assessment", "Refusal", "Score", "assess"]

DEFAULT_METRICS = ("faithfulness_correlation", "insertion", "deletion", "random_logit", "sparseness")


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one metric says of one method."""

    method: str
    metric: str
    values: Tensor = field(repr=False, compare=False)
    """(n,) float64, one for each sample; NaN where it is not defined."""
    mean: float
    """Over the samples that have a value; NaN where none has."""
    interval: tuple[float, float]
    """95 % bootstrap interval of the mean; NaN where fewer than two samples have a value."""
    higher_is_better: bool


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A method, or one metric of it, that could not be had, and why."""

    method: str
    metric: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """Scores of methods by metrics on n samples."""

    n: int
    methods: tuple[str, ...]
    """Those that apply, in the order that they were asked for."""
    metrics: tuple[str, ...]
    scores: tuple[Score, ...]
    refused: tuple[Refusal, ...]

    def score(self, method: str, metric: str) -> Score | None:
        """One score; None where it was refused."""
        return next((one for one in self.scores if (one.method, one.metric) == (method, metric)), None)

    def as_dict(self) -> dict[str, Any]:
        """All but the values of single samples, ready for JSON; what is not defined is None."""

        def number(value: float) -> float | None:
            return None if math.isnan(value) else value

        return {
            "n": self.n,
            "scores": [
                {
                    "method": one.method,
                    "metric": one.metric,
                    "mean": number(one.mean),
                    "interval": [number(end) for end in one.interval],
                    "higher_is_better": one.higher_is_better,
                }
                for one in self.scores
            ],
            "refused": [vars(one) for one in self.refused],
        }


def assess(
    model: Classifier,
    inputs: Inputs,
    methods: str | Sequence[str],
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    *,
    targets: Targets = None,
    masks: Tensor | None = None,
    spurious_masks: Tensor | None = None,
    seed: int = 0,
    memory: int = DEFAULT_BUDGET,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Assessment:
    """Measure explainers by quality metrics, one or several of both, by name or spec, on the same samples.

    ``targets`` (n,) are the predicted classes unless given; ``masks`` and ``spurious_masks`` (n, height, width), bool,
    say where evidence and spurious cues lie, where that is known. A method that does not apply to the model, and a
    metric that does not apply to a method, are listed with the reason. In ``folder``, if given, every finished method
    is kept, and found there again by the same call. Raises `InputError` for unknown names.
    """
    check_classifier(model)
    check_seed(seed)
    methods, metrics = ([given] if isinstance(given, str) else given for given in (methods, metrics))
    chosen = {str(Spec.parse(method)): explainers.create(method) for method in methods}
    measures = {str(Spec.parse(metric)): quality_metrics.create(metric) for metric in metrics}
    if not chosen or not measures:
        raise InputError(f"expected methods and metrics, got {len(chosen)} and {len(measures)}")
    scores: list[Score] = []
    refused: list[Refusal] = []
    applied: list[str] = []
    with memory_budget(memory):
        bench = Bench(
            model=model, inputs=inputs, targets=targets, masks=masks, spurious_masks=spurious_masks, seed=seed
        )
        kept = None if folder is None else Kept.open(folder, bench, tuple(measures))
        for done, (method, explainer) in enumerate(chosen.items()):
            if progress is not None:
                progress("methods", done, len(chosen), {"method": method})
            work = partial(_measured, bench, explainer, measures)
            found = work() if kept is None else kept.get(method, work)
            refused += [Refusal(method=method, metric=metric, reason=why) for metric, why in found.refused.items()]
            if found.refusal is not None:
                refused.append(Refusal(method=method, metric=None, reason=found.refusal))
                continue
            applied.append(method)
            scores += [
                Score(
                    method=method,
                    metric=metric,
                    values=values,
                    mean=float(values.nanmean()),
                    interval=bootstrap_interval(values, seed=seed),
                    higher_is_better=measures[metric].higher_is_better,
                )
                for metric, values in found.values.items()
            ]
    if progress is not None:
        progress("methods", len(chosen), len(chosen), {})
    return Assessment(
        n=len(bench.x), methods=tuple(applied), metrics=tuple(measures), scores=tuple(scores), refused=tuple(refused)
    )


def _measured(bench: Bench, explainer: Explainer, measures: Mapping[str, QualityMetric]) -> Measured:
    """One method by every metric that applies to it."""
    try:
        case = bench.case(explainer, bench.explain(explainer))
    except UnsupportedError as error:
        return Measured(values={}, refused={}, refusal=first_line(error))
    values: dict[str, Tensor] = {}
    refused: dict[str, str] = {}
    for name, measure in measures.items():
        try:
            values[name] = measure(case)
        except UnsupportedError as error:
            refused[name] = first_line(error)
    return Measured(values=values, refused=refused)
