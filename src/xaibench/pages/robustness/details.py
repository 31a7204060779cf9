"""The parts of a report on robustness, each with the sentence that its numbers make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from xaibench.pages.robustness.charts import class_bars, corruption_bars, distance_bars
from xaibench.pages.shared.charts import STILL
from xaibench.pages.shared.text import plain
from xaibench.reading import counted, percent

if TYPE_CHECKING:
    from xaibench.evaluate.hardness import Corruptions, MinimalDistances, Robustness, SelfChecks
    from xaibench.report import Report

__all__ = [
    "best_value",
    "nearest_in_words",
    "show_attacks",
    "show_checks",
    "show_classes",
    "show_corruptions",
    "show_distances",
]

_MOST_CLASSES = 40
"""Classes drawn; of more, the weakest."""
_STATUS = {"pass": "✓ passes", "warning": "! warns", "fail": "✗ fails", "skipped": "– skipped"}


def show_attacks(report: Report, robustness: Robustness) -> None:
    """What each attack broke, what of that is new, and what it took."""
    from xaibench.drawing.labels import method_label, stage_label

    st.markdown(plain(best_value(report, robustness)))
    rows: list[dict[str, Any]] = []
    for row in robustness.attacks:
        rows.append(_row(report, method_label(row.attack), row.attack, row.broken, row.gain))
        rows += [
            _row(report, f"    {stage_label(stage.stage)}", f"{row.attack}: {stage.stage}", stage.broken, stage.gain)
            for stage in row.stages
        ]
    st.dataframe(
        rows,
        hide_index=True,
        height="content",
        column_config={
            "Attack": st.column_config.TextColumn(width="medium"),
            "Broken": st.column_config.NumberColumn(help="Samples that it broke at epsilon"),
            "Added": st.column_config.NumberColumn(help="Of these, what no attack above had broken"),
            "Forward passes": st.column_config.NumberColumn(format="localized"),
            "Backward passes": st.column_config.NumberColumn(format="localized"),
            "Seconds": st.column_config.NumberColumn(format="%.1f"),
        },
    )
    st.caption(
        "Indented rows are the parts of an ensemble, each made on what the parts above left. Passes count samples at"
        " all radii together."
    )


def _row(report: Report, label: str, key: str, broken: int, gain: int) -> dict[str, Any]:
    forward, backward = report.timings.passes.get(key, (None, None))
    return {
        "Attack": label,
        "Broken": broken,
        "Added": gain,
        "Forward passes": forward,
        "Backward passes": backward,
        "Seconds": report.timings.seconds.get(key),
    }


def best_value(report: Report, robustness: Robustness) -> str:
    """Which attack alone breaks most, and what the last one added for its cost."""
    from xaibench.drawing.labels import method_label

    rows = robustness.attacks
    total = sum(row.gain for row in rows)
    if not total:
        return "No attack broke anything at this radius."
    if len(rows) == 1:
        return f"{method_label(rows[0].attack)} breaks {counted(total, 'sample')}."
    first, last = max(rows[:-1], key=lambda row: row.broken), rows[-1]
    falls = f"{first.broken} of the {total} samples that fall"
    if total == 1:
        falls = "the one sample that falls" if first.broken else "nothing"
    added = counted(last.gain, "sample") if last.gain else "nothing"
    passes = [sum(report.timings.passes.get(row.attack, (0, 0))) for row in (first, last)]
    cost = f", with {passes[1] / passes[0]:.2g} times its passes" if 0 < passes[0] < passes[1] else ""
    return f"{method_label(first.attack)} alone breaks {falls}; {method_label(last.attack)} adds {added}{cost}."


def show_classes(robustness: Robustness) -> None:
    """How each class holds up, the weakest first."""
    classes = sorted(
        (one for one in robustness.per_class if one.accuracy is not None), key=lambda one: one.accuracy or 0
    )
    weakest, strongest = classes[0], classes[-1]
    if weakest is strongest:
        st.markdown(plain(f"All samples are of {weakest.name}: {weakest.robust} of {weakest.support} stay right."))
    elif weakest.accuracy == strongest.accuracy:
        share = weakest.accuracy or 0.0
        same = {0.0: "No class keeps a sample right.", 1.0: "Every sample of every class stays right."}
        st.markdown(plain(same.get(share, f"Every class keeps the same share right: {percent(share)}.")))
    else:
        st.markdown(
            plain(
                f"{weakest.name} falls most easily: {weakest.robust} of {weakest.support} stay right;"
                f" {strongest.name} holds best, with {strongest.robust} of {strongest.support}."
            )
        )
    shown = classes[:_MOST_CLASSES]
    st.plotly_chart(
        class_bars(shown),
        key="classes",
        config=STILL,
        alt="Samples that stay right by class: "
        + ", ".join(f"{one.name} {one.robust} of {one.support}" for one in shown),
    )
    if len(classes) > len(shown):
        st.caption(f"The {len(shown)} weakest of {len(classes)} classes.")


def show_checks(checks: SelfChecks) -> None:
    """Whether the numbers can be trusted, what was checked, and what to do about it."""
    from xaibench.checks import bound_of
    from xaibench.drawing.labels import name_label

    order = ["fail", "warning", "pass", "skipped"]
    for one in sorted(checks.outcomes, key=lambda one: order.index(one.status)):
        if one.status in ("fail", "warning"):
            st.warning(plain(f"{name_label(one.check)} {_STATUS[one.status][2:]}: {one.advice}"))
    st.dataframe(
        [
            {
                "Self-check": name_label(one.check),
                "Outcome": _STATUS[one.status],
                "Figure": "–" if one.figure is None else f"{one.figure:.3g}".replace("-", "−"),
                "Limit": "–" if one.limit is None else bound_of(one.check, one.limit),
                "What it means": one.advice,
            }
            for one in sorted(checks.outcomes, key=lambda one: order.index(one.status))
        ],
        hide_index=True,
        height="content",
        column_config={
            "What it means": st.column_config.TextColumn(width="large"),
        },
    )


def show_distances(minimal: MinimalDistances, robustness: Robustness) -> None:
    """How far the nearest adversarial examples lie."""
    from xaibench.reading import norm_label

    st.markdown(plain(nearest_in_words(minimal)))
    counts = zip(minimal.edges, minimal.edges[1:], minimal.counts, strict=False)
    st.plotly_chart(
        distance_bars(minimal, f"{norm_label(robustness.norm)} distance, {robustness.unit}"),
        key="distances",
        config=STILL,
        alt="Samples by the distance of their nearest adversarial example: "
        + ", ".join(f"{count} within {low:.3g} to {high:.3g}" for low, high, count in counts if count),
    )


def nearest_in_words(minimal: MinimalDistances) -> str:
    """How near half of the samples have an adversarial example, and how many one was found for."""
    from xaibench.drawing.labels import method_label

    attack = method_label(minimal.attack)
    if minimal.n == 1:
        if minimal.median is None:
            return f"{attack} looked for the nearest adversarial example of 1 sample, and found none."
        return f"The nearest adversarial example that {attack} found of 1 sample lies at {minimal.median:.3g} (dashed)."
    if minimal.median is None:
        half = f"For more than half of {minimal.n} samples no adversarial example was found."
    else:
        half = f"Half of {minimal.n} samples have an adversarial example within {minimal.median:.3g} (dashed)."
    return f"{half} {attack} looked for the nearest, and found {minimal.found or 'none'}."


def show_corruptions(corruptions: Corruptions) -> None:
    """Accuracy on images that no adversary has touched, but noise, blur and weather have."""
    worst = min(range(len(corruptions.names)), key=lambda place: corruptions.by_name[place])
    names = [name.replace("_", " ") for name in corruptions.names]
    st.markdown(
        plain(
            f"Without an adversary, corruptions take accuracy from {percent(corruptions.clean)} to"
            f" {percent(corruptions.mean)} on average; {names[worst]} hurts most"
            f" ({percent(corruptions.by_name[worst])})."
        )
    )
    st.plotly_chart(
        corruption_bars(corruptions),
        key="corruptions",
        config=STILL,
        alt="Accuracy by corruption: "
        + ", ".join(f"{name} {percent(share)}" for name, share in zip(names, corruptions.by_name, strict=True)),
    )
