"""How a comparison draws itself in a notebook: its sentences, a bar for each model, and what differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xaibench.comparison.attackers import is_single, note_text, under
from xaibench.comparison.page import FigureRow, cost_rows, figure_row
from xaibench.comparison.verdict import p_text, points
from xaibench.drawing.bracket import Part, bracket, bracket_parts
from xaibench.drawing.html import card, facts, paragraph, table
from xaibench.reading import percent

if TYPE_CHECKING:
    from xaibench.comparison.results import Comparison, McNemar

__all__ = ["comparison_html", "comparison_line"]

_FIGURES = 20
"""Most figures that are listed; those that are shown to differ come first, and the rest are counted."""


def comparison_line(found: Comparison) -> str:
    """A comparison in one line, without its tables."""
    first, second = found.names
    shares = ", ".join(
        f"{test.what} {percent(test.accuracy[0])} → {percent(test.accuracy[1])} ({p_text(_p(test))})"
        for test in found.tests
    )
    return f"Comparison({first} → {second} on {found.n} samples of {found.data}: {shares})"


def comparison_html(found: Comparison) -> str:
    """A comparison as HTML."""
    first, second = found.names
    known = [("data", f"{found.data}/{found.split}"), ("samples", str(found.n)), ("seed", str(found.seed))]
    return card(
        f"{first} → {second}",
        None,
        paragraph(found.verdict),
        *_bars(found),
        *_tests(found),
        *_figures(found),
        *_cost(found),
        *(paragraph(f"Attack ({note.what}): {note_text(note, found.names)}", soft=True) for note in found.attacks),
        *(paragraph(f"Not measured: {item.what}: {item.reason}", soft=True) for item in found.not_measured),
        facts(known),
    )


def _bars(found: Comparison) -> list[str]:
    """What each model gets right, as it is and under attack."""
    clean, *attacked = found.tests
    parts: list[str] = []
    for place, name in enumerate(found.names):
        right = clean.accuracy[place]
        shares = (
            bracket_parts(clean=right, robust=attacked[0].accuracy[place], proved=None)
            if attacked
            else (Part("right", right, "right"), Part("wrong", 1 - right, "wrong"))
        )
        parts += [paragraph(f"{name}{f', {under(found)}' if found.within else ''}:"), bracket(shares)]
    if found.within and found.attacks and is_single(found):
        parts.append(paragraph("No ensemble attacked: what is right may fall to a stronger attack.", soft=True))
    return parts


def _tests(found: Comparison) -> list[str]:
    first, second = found.names
    rows = [
        (
            test.what,
            percent(test.accuracy[0]),
            percent(test.accuracy[1]),
            f"{points(test.difference)} points",
            p_text(_p(test)),
            str(test.only_first),
            str(test.only_second),
        )
        for test in found.tests
    ]
    header = ("accuracy", first, second, "difference", "McNemar's test", f"only {first}", f"only {second}")
    return [table(header, rows)]


def _figures(found: Comparison) -> list[str]:
    """The other figures, those that are shown to differ before the rest."""
    if not found.figures:
        return []
    ordered = sorted(found.figures, key=lambda figure: not figure.found)
    rows = [
        (row.label, row.outcome, _difference(row), *row.means, row.adjusted, str(row.n))
        for row in map(figure_row, ordered[:_FIGURES])
    ]
    more = len(ordered) - len(rows)
    return [
        table(("figure", "outcome", "difference", *found.names, "p after Holm", "samples"), rows),
        *([paragraph(f"The first {len(rows)} of {len(ordered)} figures are listed.", soft=True)] if more else []),
    ]


def _difference(row: FigureRow) -> str:
    """With its unit where the figure is a share."""
    return f"{row.difference} points" if row.means[0].endswith("%") else row.difference


def _cost(found: Comparison) -> list[str]:
    rows = [(row.label, *row.values, row.ratio) for row in cost_rows(found)]
    return [table(("size and speed", *found.names, "ratio"), rows)] if rows else []


def _p(test: McNemar) -> float:
    return test.p_value if test.adjusted is None else test.adjusted
