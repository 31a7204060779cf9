"""``compare.html``: the comparison as one file that opens offline."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from xaibench.comparison.attackers import is_single, note_text, under
from xaibench.comparison.charts import accuracy_chart, distance_chart
from xaibench.comparison.compare import View
from xaibench.comparison.results import LEVEL, Comparison, PairedFigure
from xaibench.comparison.samples import samples_of, signed_labels
from xaibench.comparison.verdict import figure_label, p_text, points
from xaibench.drawing.labels import method_label
from xaibench.evaluate.hardness import Interval
from xaibench.reading import percent
from xaibench.report.charts import plotly_library, reliability_chart
from xaibench.report.page import environment

__all__ = ["FigureRow", "cost_rows", "figure_row", "render"]

_SHARES = frozenset(
    {
        "calibration_error",
        "corrupted_accuracy",
        "fooled_by_the_other",
        "top_places_kept_under_noise",
        "top_places_kept_under_search",
    }
)
"""Figures that are shown in percent."""
_RESTS_ON = {
    "accuracy": "Robust accuracy",
    "distances": "Distance to the nearest adversarial example",
    "transfer": "Transfer",
    "explanations": "What is left of maps",
}


@dataclass(frozen=True)
class FigureRow:
    """One figure as the page shows it."""

    label: str
    n: int
    means: tuple[str, str]
    intervals: tuple[str, str]
    difference: str
    interval: str
    p: str
    adjusted: str
    outcome: str


@dataclass(frozen=True)
class CostRow:
    """Size or speed of both."""

    label: str
    values: tuple[str, str]
    ratio: str


def render(view: View) -> str:
    """The page of a comparison."""
    found = view.comparison
    curve = accuracy_chart(found)
    maps = view.maps
    distances, samples = distance_chart(found), samples_of(view)
    rows = {
        group: [figure_row(figure) for figure in found.figures if figure.group == group]
        for group in ("distances", "transfer", "corruptions", "calibration", "explanations", "movement")
    }
    return (
        environment()
        .get_template("compare.html.j2")
        .render(
            found=found,
            version=version("xaibench"),
            curve=curve,
            plotly=plotly_library() if curve else "",
            distances=distances,
            missing=_missing(found),
            under=under(found) if found.within else "",
            single=bool(found.within and found.attacks and is_single(found)),
            attacks=[(_RESTS_ON[note.what], note_text(note, found.names)) for note in found.attacks],
            moved=bool(maps and maps.moved[0]),
            kinds=("before", "before moved", "after", "after moved") if maps and maps.moved[0] else ("before", "after"),
            series=_series(found, moved=bool(maps and maps.moved[0])),
            tests=found.tests,
            points=points,
            p_text=p_text,
            level=LEVEL,
            tested=sum(figure.p_value is not None for figure in found.figures),
            rows=rows,
            places=[
                ("summary", "Verdict"),
                ("accuracy", "Accuracy"),
                *([("strain", "Under strain")] if distances or rows["transfer"] or rows["corruptions"] else []),
                ("calibration", "Calibration"),
                *([("side", "Side by side")] if samples else []),
                *([("explanations", "Explanations")] if rows["explanations"] or rows["movement"] else []),
                ("cost", "Size and speed"),
                ("method", "Method"),
            ],
            cost=cost_rows(found),
            reliability=[reliability_chart(side) for side in found.calibration],
            samples=samples,
            signed=signed_labels(maps) if maps else set(),
            unsigned=bool(maps and {method_label(spec) for spec in maps.methods} - signed_labels(maps)),
        )
    )


def _series(found: Comparison, *, moved: bool) -> tuple[str, ...]:
    """What the bars of a table stand for."""
    return tuple(text for name in found.names for text in ((name, f"{name}, attacked") if moved else (name,)))


def _missing(found: Comparison) -> str:
    """For how many samples no adversarial example was found."""
    if found.distances is None:
        return ""
    counts = [sum(value is None for value in side) for side in found.distances]
    parts = [
        f"on {name} for {'every sample' if not count else f'all but {count}' if count < len(side) else 'none'}"
        for name, count, side in zip(found.names, counts, found.distances, strict=True)
    ]
    return f"One was found {parts[0]}, {parts[1]}"


def figure_row(figure: PairedFigure) -> FigureRow:
    """A figure in words and digits."""
    share = figure.name in _SHARES
    one, other = figure.interval or (None, None)
    return FigureRow(
        label=figure_label(figure),
        n=figure.n,
        means=(_value(figure.mean[0], share), _value(figure.mean[1], share)),
        intervals=(_ends(one, share), _ends(other, share)),
        difference=points(figure.difference) if share else _signed(figure.difference),
        interval=""
        if figure.difference_interval is None
        else " to ".join(points(end) if share else _signed(end) for end in figure.difference_interval),
        p="–" if figure.p_value is None else f"{figure.p_value:.2g}",
        adjusted="–" if figure.adjusted is None else p_text(figure.adjusted).removeprefix("p = ").removeprefix("p "),
        outcome=figure.outcome,
    )


def _value(value: float, share: bool) -> str:
    return percent(value) if share else f"{value:.3g}".replace("-", "−")


def _ends(ends: Interval | None, share: bool) -> str:
    if ends is None:
        return ""
    low, high = (f"{100 * end:.1f}" if share else f"{end:.3g}".replace("-", "−") for end in ends)
    return f"{low}–{high}" if not low.startswith("−") else f"{low} to {high}"


def _signed(value: float) -> str:
    return "0" if value == 0 else f"{value:+.3g}".replace("-", "−")


def cost_rows(found: Comparison) -> list[CostRow]:
    """Sizes and speeds that are known of one of the two at least."""
    rows = []
    for name, label in (
        ("parameters", "Parameters"),
        ("nonzero", "of them not zero"),
        ("file_bytes", "File of weights, KB"),
        ("images_per_second", "Samples a second, forwards"),
    ):
        one, other = (getattr(model, name) for model in found.models)
        if one is None and other is None:
            continue
        divisor = 1000 if name == "file_bytes" else 1
        first, second = ("–" if value is None else _grouped(value / divisor) for value in (one, other))
        ratio = f"×{other / one:.2f}" if one and other is not None else "–"
        rows.append(CostRow(label, (first, second), ratio))
    return rows


def _grouped(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
