"""A comparison of two as the page shows it: the verdict, accuracies, figures with their tests, and the price."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.compare.charts import accuracy_bars, curves_chart, differences_chart
from xaibench.pages.shared.charts import STILL, described, paired_bars
from xaibench.pages.shared.links import link_button
from xaibench.pages.shared.text import plain
from xaibench.reading import counted, listed, percent, radius_axis

if TYPE_CHECKING:
    from xaibench.comparison import Comparison
    from xaibench.comparison.results import Within
    from xaibench.pages.compare.evidence import Evidence

__all__ = ["headline", "in_plain_words", "show_pair"]

_OUTCOMES = ("better", "worse", "higher", "lower")

_GROUPS = {
    "distances": "Distance",
    "transfer": "Transfer",
    "corruptions": "Corruptions",
    "calibration": "Calibration",
    "explanations": "Explanations",
    "movement": "Explanations under attack",
}


def show_pair(evidence: Evidence) -> None:
    """All that is known of two, the verdict first."""
    found = evidence.found
    st.markdown(f"#### {headline(found)}\n{plain(in_plain_words(found))}")
    st.caption(plain(evidence.origin))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Accuracy on the same samples**")
        alt = described(
            [test.what for test in found.tests],
            {name: [test.accuracy[side] for test in found.tests] for side, name in enumerate(found.names)},
        )
        st.plotly_chart(accuracy_bars(found, found.tests), key="accuracy", config=STILL, alt=alt)
        _show_tests(found)
    with right:
        if found.within is not None and len(found.within.radii) > 1:
            _show_curves(found, found.within)
        elif found.per_class:
            _show_classes(found)
    if found.figures:
        _show_figures(found)
    if found.within is not None and len(found.within.radii) > 1 and found.per_class:
        with st.expander("By class"):
            _show_classes(found)
    if found.corruptions:
        with st.expander("Under corruptions"):
            _show_corruptions(found)
    _show_cost(found)
    _show_notes(found)
    if evidence.page is not None:
        link_button(
            "Open the whole comparison", "reports", key="to-page", icon=":material/description:", report=evidence.page
        )


def headline(found: Comparison) -> str:
    """What the second wins and pays, in a line of Markdown."""
    from xaibench.comparison.verdict import points

    second = plain(found.names[1])
    if found.same_model:
        return "Both sides are the same model"
    clean = found.tests[0]
    robust = found.tests[1] if len(found.tests) > 1 else None
    if robust is None:
        return f"{second}: {points(clean.difference)} points of accuracy" if clean.found else "No difference is shown"
    if not clean.found and not robust.found:
        return "No difference is shown, neither under attack nor on unchanged samples"
    won, paid = (
        f"{points(test.difference)} points {where}" if test.found else f"no difference shown {where}"
        for test, where in ((robust, "under attack"), (clean, "on unchanged samples"))
    )
    return f"{second}: {won}, {paid}"


def in_plain_words(found: Comparison) -> str:
    """What the tests say, without their numbers: accuracy under attack and unchanged, and all other figures."""
    if found.same_model:
        return found.verdict
    first, second = found.names
    said = []
    for test in found.tests[::-1]:
        where = "On unchanged samples" if test.what == "clean" else "Under attack"
        one, other = map(percent, test.accuracy)
        means = "more than chance explains" if test.found else "which may be chance"
        said.append(
            f"{where} {second} gets {other} right and {first} {one}, {means}."
            if one != other
            else f"{where} both get {one} right."
        )
    tested = [one for one in found.figures if one.p_value is not None]
    outcomes: Counter[str] = Counter(one.outcome for one in tested)
    if tested:
        named = [f"{count} {outcome}" for outcome in _OUTCOMES if (count := outcomes[outcome])]
        rest = outcomes["not shown"]
        parts = [*named, f"{rest} without a shown difference"] if rest else named
        said.append(f"Of {counted(len(tested), 'other figure')} {second} has {listed(parts)}.")
    return " ".join(said)


def _show_tests(found: Comparison) -> None:
    """The verdict with its p-values, and which samples decide it."""
    from xaibench.comparison.verdict import p_text, points

    with st.expander("The tests behind it"):
        st.markdown(plain(found.verdict))
        st.dataframe(
            [
                {
                    "On samples": "unchanged" if test.what == "clean" else "under attack",
                    f"{found.names[0]} alone right": test.only_first,
                    f"{found.names[1]} alone right": test.only_second,
                    "Points": points(test.difference),
                    "McNemar, corrected": p_text(test.p_value if test.adjusted is None else test.adjusted),
                    "Difference": "shown" if test.found else "not shown",
                }
                for test in found.tests
            ],
            hide_index=True,
        )


def _show_curves(found: Comparison, within: Within) -> None:
    st.markdown("**Robust accuracy by radius**")
    lines = [
        (name, within.radii, curve, ends)
        for name, curve, ends in zip(found.names, within.curves, within.intervals, strict=True)
    ]
    unit = radius_axis(within.norm, within.unit)
    alt = described([f"{radius:g}" for radius in within.radii], dict(zip(found.names, within.curves, strict=True)))
    st.plotly_chart(curves_chart(lines, eps=within.eps, unit=unit), key="curves", config=STILL, alt=alt)
    st.caption("What no attack broke: upper bounds, with 95 % intervals.")


def _show_classes(found: Comparison) -> None:
    rows = [row for row in found.per_class if row.support]
    series = {name: [(row.right[side] or 0) / row.support for row in rows] for side, name in enumerate(found.names)}
    names = [f"{row.name} ({row.support})" for row in rows]
    st.markdown(f"**Right by class**, {'under attack' if found.within else 'unchanged'}; samples in brackets")
    chart = paired_bars(names, series, limits=(0.0, 1.0))
    st.plotly_chart(chart, key="classes", config=STILL, alt=described(names, series))


def _show_corruptions(found: Comparison) -> None:
    names = [row.name.replace("_", " ") for row in found.corruptions]
    series = {name: [row.accuracy[side] for row in found.corruptions] for side, name in enumerate(found.names)}
    chart = paired_bars(names, series, limits=(0.0, 1.0))
    st.plotly_chart(chart, key="corruptions", config=STILL, alt=described(names, series))


def _show_figures(found: Comparison) -> None:
    from xaibench.comparison.page import figure_row
    from xaibench.comparison.verdict import figure_label

    shown = [one for one in found.figures if one.found and one.mean[0]]
    st.subheader("What else changed")
    if shown:
        labels = [figure_label(one) for one in shown]
        alt = "; ".join(
            f"{label}: {one.mean[0]:.3g} to {one.mean[1]:.3g}, {one.outcome}"
            for label, one in zip(labels, shown, strict=True)
        )
        st.plotly_chart(differences_chart(shown, labels), key="differences", config=STILL, alt=alt)
        st.caption(
            plain(
                f"Change from {found.names[0]} to {found.names[1]}, of figures with a shown difference: blue is better,"
            )
            + " orange worse, violet a description that is no merit."
        )
    else:
        st.caption("No other figure shows a difference after correction for the number of tests.")
    with st.expander(f"All {len(found.figures)} figures with their tests"):
        rows = [(figure.group, figure_row(figure)) for figure in found.figures]
        st.dataframe(
            [
                {
                    "Of": _GROUPS[group],
                    "Figure": row.label,
                    "Samples": row.n,
                    found.names[0]: row.means[0],
                    found.names[1]: row.means[1],
                    "Difference": row.difference,
                    "95 % interval": row.interval,
                    "p (corrected)": row.adjusted,
                    "Outcome": row.outcome,
                }
                for group, row in rows
            ],
            hide_index=True,
        )


def _show_cost(found: Comparison) -> None:
    rows = []
    for name, label, divisor in (
        ("parameters", "Parameters", 1),
        ("nonzero", "of them not zero", 1),
        ("file_bytes", "File of weights, KB", 1000),
        ("images_per_second", "Samples a second", 1),
    ):
        one, other = (getattr(model, name) for model in found.models)
        if one is not None and other is not None:
            ratio = f"×{other / one:.2f}" if one else "–"
            first, second = (f"{value / divisor:,.0f}" for value in (one, other))
            rows.append({"": label, found.names[0]: first, found.names[1]: second, "Ratio": ratio})
    if rows:
        with st.expander("Size and speed"):
            st.dataframe(rows, hide_index=True)


def _show_notes(found: Comparison) -> None:
    from xaibench.comparison.attackers import is_single, note_text

    with st.expander("How it was measured"):
        if found.attacks and is_single(found):
            st.caption("No ensemble attacked: a stronger attack may leave less.")
        for note in found.attacks:
            st.caption(plain(f"Attack ({note.what}): {note_text(note, found.names)}"))
        st.caption(plain(f"{found.n} samples of {found.data}, {found.split} split, seed {found.seed}."))
        for item in found.not_measured:
            st.caption(plain(f"Not measured: {item.what}: {item.reason}"))
