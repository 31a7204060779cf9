"""Explained samples as the page shows them, by task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.drawing.labels import edited, method_label
from xaibench.drawing.pictures import collapse, magnified, map_picture, perturbation_picture, photo
from xaibench.evaluate.results import ExplainedSample, Map, View
from xaibench.reading import percent
from xaibench.report.schema import Report

__all__ = ["Bar", "Panel", "Row", "Sample", "Word", "samples_of", "signed_methods"]

_FEATURES = 8
_SMALL = 64
"""Pictures below this many pixels a side are enlarged without smoothing."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word of a text and its share of the largest attribution, -1..1."""

    text: str
    share: float
    changed: bool = False
    """Whether the attack put it in, or takes it out."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One feature of a table: its value and its share of the largest attribution, by view."""

    name: str
    values: tuple[str, ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture, text or set of bars, with its caption."""

    title: str
    note: str = ""
    alt: str = ""
    picture: str = ""
    verdict: str | None = None
    """How far the attribution can be trusted; None where that was not checked."""
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One view of a sample: what the model says, and the panels that show why."""

    title: str
    prediction: str
    confidence: float
    correct: bool
    panels: tuple[Panel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One explained sample."""

    id: int
    label: str
    attack: str | None
    distance: float | None
    rows: tuple[Row, ...]
    bars: Mapping[str, tuple[Bar, ...]]
    agreement: Mapping[str, float]
    verdicts: Mapping[str, str | None]
    """Of the explanations of the original, by method."""
    pixelated: bool = False


def signed_methods(report: Report, attributions: Mapping[str, Tensor]) -> dict[str, bool]:
    """For each explainer (its spec) whether any of its attributions is negative: whether it tells for from against."""
    signed: dict[str, bool] = {}
    for sample in report.results.explanations:
        for view in filter(None, (sample.clean, sample.attacked)):
            for map_ in view.maps:
                negative = bool((attributions[map_.key] < 0).any())
                signed[map_.explainer] = signed.get(map_.explainer, False) or negative
    return signed


def samples_of(report: Report, adversarials: Mapping[str, Tensor], attributions: Mapping[str, Tensor]) -> list[Sample]:
    """Every explained sample, ready to be shown."""
    page = _Page(report, adversarials, attributions)
    return [page.sample(sample) for sample in report.results.explanations]


class _Page:
    def __init__(self, report: Report, adversarials: Mapping[str, Tensor], attributions: Mapping[str, Tensor]) -> None:
        self.report, self.adversarials, self.attributions = report, adversarials, attributions
        self.signed = signed_methods(report, attributions)

    def sample(self, sample: ExplainedSample) -> Sample:
        views = {"Original": sample.clean, **({"Attacked": sample.attacked} if sample.attacked else {})}
        inputs = self._inputs(sample)
        task = self.report.model.task
        names = self.report.model.class_names
        return Sample(
            id=sample.id,
            label=names[sample.label],
            attack=sample.attack,
            distance=sample.distance,
            rows=tuple(
                Row(
                    title=title,
                    prediction=names[view.prediction],
                    confidence=view.confidence,
                    correct=view.prediction == sample.label,
                    panels=self._panels(title, sample, view, inputs),
                )
                for title, view in views.items()
            ),
            bars=self._bars(sample, inputs) if task == "tabular" else {},
            agreement={method_label(spec): value for spec, value in sample.agreement.items()},
            verdicts={method_label(map_.explainer): map_.verdict for map_ in sample.clean.maps},
            pixelated=task == "image" and max(inputs[0].shape[1:]) < _SMALL,
        )

    def _inputs(self, sample: ExplainedSample) -> list[Tensor]:
        if self.report.model.task == "text":
            return []
        clean = self.adversarials["inputs"][sample.index]
        return [clean, self.adversarials[f"adversarials/{sample.attack}"][sample.index]] if sample.attack else [clean]

    def _panels(self, title: str, sample: ExplainedSample, view: View, inputs: list[Tensor]) -> tuple[Panel, ...]:
        if self.report.model.task == "text":
            return tuple(self._words(sample, view, map_) for map_ in view.maps)
        if self.report.model.task == "tabular":
            return ()
        maps = [self._map(sample, view, map_) for map_ in view.maps]
        if view is sample.attacked:
            return (self._input(title, sample, view, inputs[1]), *maps, self._perturbation(sample, inputs))
        return (self._input(title, sample, view, inputs[0]), *maps)

    def _input(self, title: str, sample: ExplainedSample, view: View, x: Tensor) -> Panel:
        names = self.report.model.class_names
        seen = f"{title} input, sample {sample.id}: read as {names[view.prediction]}, truly {names[sample.label]}"
        return Panel(title="Input", picture=photo(x, self._range()), alt=seen)

    def _perturbation(self, sample: ExplainedSample, inputs: list[Tensor]) -> Panel:
        delta = inputs[1] - inputs[0]
        strength = magnified(delta, self._range())
        return Panel(
            title="Perturbation",
            note=strength,
            picture=perturbation_picture(delta),
            alt=f"What {sample.attack} changed in sample {sample.id}, {strength}",
        )

    def _range(self) -> tuple[float, float]:
        low, high = self.report.model.bounds
        return (min(low), max(high)) if isinstance(low, tuple) and isinstance(high, tuple) else (low, high)  # type: ignore[return-value]

    def _map(self, sample: ExplainedSample, view: View, map_: Map) -> Panel:
        signed = self.signed[map_.explainer]
        label, target = method_label(map_.explainer), self.report.model.class_names[map_.target]
        side = "attacked" if view is sample.attacked else "original"
        return Panel(
            title=label,
            note=self._note(map_),
            verdict=map_.verdict,
            picture=map_picture(collapse(self.attributions[map_.key], signed=signed), signed=signed),
            alt=f"{label} for class {target} on the {side} sample {sample.id}",
        )

    def _note(self, map_: Map) -> str:
        if not self.attributions[map_.key].any():
            return "all zero: the logit of this class does not depend on the input"
        return "" if map_.completeness_gap is None else f"gap {percent(map_.completeness_gap)}"

    def _words(self, sample: ExplainedSample, view: View, map_: Map) -> Panel:
        tokens = (sample.attacked_tokens if view is sample.attacked else sample.tokens) or ()
        other = (sample.tokens if view is sample.attacked else sample.attacked_tokens) or tokens
        values = self.attributions[map_.key].float()
        shares = (values / values.abs().amax().clamp_min(1e-30)).tolist()
        marks = edited(tokens, other)
        words = [
            Word(text=text, share=share, changed=mark)
            for text, share, mark in zip(tokens, shares, marks, strict=True)
            if text
        ]
        return Panel(
            title=method_label(map_.explainer), note=self._note(map_), verdict=map_.verdict, words=tuple(words)
        )

    def _bars(self, sample: ExplainedSample, inputs: list[Tensor]) -> dict[str, tuple[Bar, ...]]:
        names = self.report.data.feature_names or tuple(f"feature {i}" for i in range(inputs[0].numel()))
        views = [view for view in (sample.clean, sample.attacked) if view]
        found = {}
        for place, map_ in enumerate(sample.clean.maps):
            values = torch.stack([self.attributions[view.maps[place].key].flatten() for view in views])
            shares = values / values.abs().amax().clamp_min(1e-30)
            top = values.abs().amax(dim=0).argsort(descending=True, stable=True)[:_FEATURES]
            found[method_label(map_.explainer)] = tuple(
                Bar(
                    name=names[i],
                    values=tuple(f"{float(x.flatten()[i]):.4g}" for x in inputs),
                    shares=tuple(shares[:, i].tolist()),
                )
                for i in top.tolist()
            )
        return found
