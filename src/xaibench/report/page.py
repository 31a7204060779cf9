"""``index.html``: the report as one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from xaibench.checks import bound_of
from xaibench.drawing.labels import FIGURES, method_label, stage_label
from xaibench.evaluate.align import are_numbers
from xaibench.evaluate.hardness import Robustness
from xaibench.evaluate.headline import headline
from xaibench.evaluate.results import Results
from xaibench.evaluate.summary import halving_radius, signed
from xaibench.reading import format_radius, norm_label, percent
from xaibench.report.charts import curve_chart, histogram, plotly_library, reliability_chart
from xaibench.report.command import command, python_call
from xaibench.report.interpretability import movement_charts, movement_rows
from xaibench.report.samples import Sample, samples_of, signed_methods
from xaibench.report.schema import Report

__all__ = ["environment", "render"]

_LARGEST_MATRIX = 20
"""Classes up to which a confusion matrix is still readable."""


def render(report: Report, adversarials: Mapping[str, Tensor], attributions: Mapping[str, Tensor]) -> str:
    """The page of a report, given its adversarial examples and attributions."""
    results = report.results
    samples = samples_of(report, adversarials, attributions)
    both_ways = {method_label(spec) for spec, both in signed_methods(report, attributions).items() if both}
    robustness = results.robustness
    found = results.interpretability
    small = len(report.data.class_names) <= _LARGEST_MATRIX
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            headline=headline(report),
            places=_places(report),
            tiles=_tiles(results),
            notes=_notes(report),
            curve=curve_chart(robustness) if robustness else None,
            plotly=plotly_library() if robustness else "",
            histogram=histogram(robustness.minimal) if robustness and robustness.minimal else None,
            attacked_matrix=_matrix(robustness.confusion_matrix) if robustness and small else [],
            robustness_reason=next((item.reason for item in results.not_measured), "the plan has no attacks"),
            movements=movement_charts(found, robustness) if found else [],
            movement_rows=movement_rows(found) if found else [],
            figures=FIGURES,
            samples=samples,
            signed=both_ways,
            gaps=any(map_.completeness_gap is not None for one in results.explanations for map_ in one.clean.maps),
            keys=_keys(report, samples, both_ways),
            reliability=reliability_chart(results.clean.calibration),
            matrix=_matrix(results.clean.confusion_matrix) if small else [],
            confusions=_confusions(report),
            command=command(report.plan),
            python_call=python_call(report.plan),
        )
    )


@dataclass(frozen=True)
class Tile:
    """One key figure."""

    label: str
    value: str
    unit: str
    note: str
    share: float = 0.0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Cell:
    """One cell of the confusion matrix."""

    count: int
    share: float
    kind: str


@cache
def environment() -> Environment:
    """Templates of this package with the filters that they use; whatever they are given is escaped."""
    environment = Environment(
        loader=PackageLoader("xaibench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=lambda share: _bind(percent(share)),
        bind=_bind,
        radius=format_radius,
        method=method_label,
        stage=stage_label,
        seconds=lambda value: "–" if value is None else f"{value:.1f}",
        thousands=lambda count: f"{count:,}" if isinstance(count, int) else count,
        norm=norm_label,
        signed=signed,
    )
    environment.globals.update(range_of=range, bound_of=bound_of)
    return environment


def _bind(text: str) -> str:
    """Keep a number and its percent sign on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _places(report: Report) -> list[tuple[str, str]]:
    """The table of contents: anchors and what they are called."""
    results = report.results
    places = [
        ("summary", "Summary", True),
        ("robustness", "Robustness", True),
        ("interpretability", "Interpretability", results.interpretability is not None),
        ("explanations", "Explanations", True),
        ("corruptions", "Corruptions", results.corruptions is not None),
        ("clean", "Clean metrics", True),
        ("about", "Data and model", True),
        ("method", "Method", True),
        ("again", "Reproduce", True),
    ]
    return [(anchor, label) for anchor, label, there in places if there]


def _tiles(results: Results) -> list[Tile]:
    clean, robustness = results.clean, results.robustness
    tiles = [_share_tile("Accuracy on unchanged inputs", clean.accuracy, clean.accuracy_interval)]
    if robustness is not None:
        at, worst, half = robustness.index, robustness.worst_case, halving_radius(robustness)
        label = f"Robust accuracy {_within(robustness)}"
        tiles.append(_share_tile(label, worst.accuracy[at], worst.interval[at]))
        last = format_radius(robustness.radii[-1])
        value, which = (
            (f"> {last}", "more is left at the largest") if half is None else (format_radius(half), "the smallest")
        )
        note = f"{_axis(robustness)}; {which} one measured"
        tiles.append(Tile("Radius by which half of the accuracy is gone", value, "", note))
    else:
        auc = "–" if clean.auc is None else f"{clean.auc:.3f}"
        tiles.append(Tile("Area under the ROC curve", auc, "", "1 is a perfect ranking, 0.5 is chance"))
        tiles.append(Tile("F1", *_split(clean.f1), "mean over classes"))
    if robustness is not None and robustness.proved is not None:
        at, proved = robustness.index, robustness.proved
        label = f"Proved robust {_within(robustness)}"
        tiles.append(_share_tile(label, proved.accuracy[at], proved.interval[at]))
    else:
        note = "mean gap of confidence and accuracy"
        tiles.append(Tile("Calibration error", *_split(clean.calibration_error), note))
    return tiles


def _within(robustness: Robustness) -> str:
    if robustness.norm == "words":
        return f"with at most {format_radius(robustness.eps)} words edited"
    return f"at {norm_label(robustness.norm)} ε = {format_radius(robustness.eps)}"


def _axis(robustness: Robustness) -> str:
    return robustness.unit if robustness.norm == "words" else f"{norm_label(robustness.norm)}, {robustness.unit}"


def _share_tile(label: str, share: float, interval: tuple[float, float]) -> Tile:
    low, high = interval
    return Tile(label, *_split(share), f"95 % interval {percent(low)} to {percent(high)}", share, interval)


def _split(share: float) -> tuple[str, str]:
    """Number and unit."""
    number, unit = percent(share).rsplit(" ", 1)
    return number, unit


def _notes(report: Report) -> list[str]:
    if report.model.class_names == report.data.class_names:
        return []
    unnamed = "model" if are_numbers(report.model.class_names) else "data"
    return [f"The classes of the {unnamed} have no names: classes are matched by their position."]


def _keys(report: Report, samples: list[Sample], both_ways: set[str]) -> list[tuple[str, str]]:
    """Colour keys: (style, text)."""
    if report.model.task == "tabular":
        both = any(sample.attack for sample in samples)
        return [("swatch1", "original"), *([("swatch2", "attacked")] if both else [])]
    unsigned = {method_label(spec) for spec in report.plan.explainers} - both_ways
    keys = []
    if report.model.task == "text":
        keys += [("word-for", "speaks for the class"), ("word-against", "speaks against it")] if both_ways else []
        keys += [("word-plain", "matters, either way")] if unsigned else []
        return keys
    keys += [("diverging", "speaks against, speaks for the class")] if both_ways else []
    keys += [("sequential", "matters little, matters much")] if unsigned else []
    return keys


def _matrix(counts: tuple[tuple[int, ...], ...]) -> list[list[Cell]]:
    return [[_cell(count, sum(row), right=i == j) for j, count in enumerate(row)] for i, row in enumerate(counts)]


def _cell(count: int, total: int, *, right: bool) -> Cell:
    share = count / total if count else 0.0
    kind = "zero" if not count else ("" if right else "wrong") + (" dense" if share > 0.5 else "")
    return Cell(count, round(share, 3), kind)


def _confusions(report: Report) -> list[tuple[str, str, int]]:
    names = report.data.class_names
    wrong = [
        (count, i, j)
        for i, row in enumerate(report.results.clean.confusion_matrix)
        for j, count in enumerate(row)
        if count and i != j
    ]
    return [(names[i], names[j], count) for count, i, j in sorted(wrong, key=lambda item: (-item[0], *item[1:]))[:15]]
