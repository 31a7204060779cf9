"""Methods by quality metrics on the chosen model, with their trust and how far they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import method_label, name_label
from xaibench.errors import UnsupportedError
from xaibench.pages.explanations import computed
from xaibench.pages.explanations.charts import heat_map
from xaibench.pages.shared import cached
from xaibench.pages.shared.charts import STILL
from xaibench.pages.shared.options import choose_number, choose_several
from xaibench.pages.shared.text import meaning, plain
from xaibench.reading import counted, listed

if TYPE_CHECKING:
    from xaibench.explainers import Attribution
    from xaibench.quality import Score
    from xaibench.types import Task

__all__ = ["best_in_words", "choose_methods", "show_quality"]

_FEWEST, _MOST, _USUAL = 4, 32, 8
"""Samples: every method explains each of them some dozen times while the reader waits."""
_MOST_METHODS = 8
_LEVEL = 0.05
"""A lead counts as shown where its corrected p-value is below this."""
_MARKS = {"trusted": "✓", "doubtful": "?", "unreliable": "✗"}


def choose_methods(task: Task) -> list[str]:
    """The methods to look at, the task's own panel at first."""
    from xaibench.explainers import DEFAULT_PANEL, explainers

    return choose_several(
        st.multiselect,
        "Explanations",
        {name: name_label(name) for name in explainers},
        key="method",
        default=[name for name in DEFAULT_PANEL[task] if name in explainers],
        most=_MOST_METHODS,
    )


def show_quality(name: str) -> None:
    """A table of methods by metrics, the better the darker; trust, agreement, and all figures with intervals."""
    model, data = cached.subject_rows(name)
    with st.sidebar:
        methods = choose_methods(model.task)
        n = choose_number(st.slider, "Samples", _FEWEST, _MOST, key="quality_rows", default=_USUAL)
    if not methods:
        st.info("Choose an explanation at the side.")
        return
    key = computed.key_of(model, data)
    found, refused = computed.each(
        methods,
        lambda method: _measured(name, method, n, key),
        doing=lambda method: f"Measuring {name_label(method)}",
    )
    for method, reason in refused.items():
        st.caption(plain(f"{name_label(method)} is left out: {reason}"))
    if not found:
        return
    trust = {method: one for method, (one, _) in found.items()}
    scores = {method: rows for method, (_, rows) in found.items()}
    st.markdown(best_in_words(scores, n))
    _show_scores(scores, trust)
    _show_meanings()
    if len(found) > 1:
        _show_agreement(trust, n)


def _measured(name: str, method: str, n: int, key: tuple[str, str]) -> tuple[Attribution, dict[str, Score]]:
    model, data = cached.subject_rows(name)
    attribution = computed.explained_rows(model, data, method, n, key)
    assessment = computed.assessed(model, data, method, n, key)
    if not assessment.methods:
        raise UnsupportedError(assessment.refused[0].reason)
    return attribution, {score.metric: score for score in assessment.scores}


def best_in_words(scores: Mapping[str, Mapping[str, Score]], n: int) -> str:
    """Which methods lead in a figure by more than chance, as Markdown."""
    from xaibench.comparison.paired import holm

    leads = {metric: _lead([rows[metric] for rows in scores.values() if metric in rows]) for metric in computed.METRICS}
    found = {metric: lead for metric, lead in leads.items() if lead is not None}
    told = f"means over {counted(n, 'sample')}. The stronger the blue, the better the method beside the others in its"
    told += " column; intervals are below."
    if not found:
        return f"#### Measured on {counted(n, 'sample')}\n{told[:1].upper()}{told[1:]}"
    corrected = holm([p_value for _, p_value in found.values()])
    shown: dict[str, list[str]] = {}
    for (metric, (method, _)), p_value in zip(found.items(), corrected, strict=True):
        if p_value < _LEVEL:
            shown.setdefault(method, []).append(name_label(metric).lower())
    if not shown:
        return (
            f"#### None is shown to explain best\nIn none of {counted(len(found), 'figure')} does one method lead all"
            f" others by more than chance: {told}"
        )
    best = max(shown, key=lambda method: len(shown[method]))
    leading = "; ".join(f"{plain(method_label(method))} in {plain(listed(names))}" for method, names in shown.items())
    return (
        f"#### {plain(method_label(best))} leads in {len(shown[best])} of {counted(len(found), 'figure')}\n"
        f"By more than chance ahead of all others: {leading}. Shown are {told}"
    )


def _lead(scores: Sequence[Score]) -> tuple[str, float] | None:
    """The method with the best mean, and how likely its lead over each other is by chance; None of fewer than two.

    Over all others it is the largest p-value of the paired tests: each lead has to hold. Once one is likely to be
    chance, no more are tested.
    """
    from xaibench.comparison.paired import sign_flip_p

    known = sorted((one for one in scores if not math.isnan(one.mean)), key=lambda one: one.mean)
    if len(known) < 2:
        return None
    best, *others = known[::-1] if known[0].higher_is_better else known
    largest = 0.0
    for other in others:
        gaps = best.values - other.values
        largest = max(largest, sign_flip_p(gaps[~gaps.isnan()]))
        if largest >= _LEVEL:
            break
    return best.method, largest


def _show_scores(scores: Mapping[str, Mapping[str, Score]], trust: Mapping[str, Attribution]) -> None:
    metrics = [metric for metric in computed.METRICS if any(metric in rows for rows in scores.values())]
    better = {
        metric: next(rows[metric].higher_is_better for rows in scores.values() if metric in rows) for metric in metrics
    }
    heads = [f"{name_label(metric)} {'↑' if better[metric] else '↓'}" for metric in metrics]
    means = {
        (method, metric): rows[metric].mean if metric in rows else math.nan
        for method, rows in scores.items()
        for metric in metrics
    }
    shades = [
        [
            _shade(means[method, metric], [means[other, metric] for other in scores], better[metric])
            for metric in metrics
        ]
        for method in scores
    ]
    texts = [[_number(means[method, metric]) for metric in metrics] for method in scores]
    names = [f"{method_label(method)} {_MARKS[trust[method].trust.verdict]}" for method in scores]
    wrapped = [head.replace(" ", "\n", 1) for head in heads]
    chart = heat_map(names, wrapped, shades, texts, hover="%{y}: %{text}<extra></extra>")
    alt = "; ".join(
        f"{name}: " + ", ".join(f"{head} {text}" for head, text in zip(heads, row, strict=True))
        for name, row in zip(names, texts, strict=True)
    )
    st.plotly_chart(chart, key="quality", config=STILL, alt=alt)
    st.caption("✓ trusted, ? doubtful, ✗ unreliable, by the checks below. ↑ higher is better, ↓ lower is better.")
    with st.expander("Figures with 95 % intervals, and what the checks say"):
        st.dataframe(
            [
                {
                    "Method": method_label(method),
                    "Trust": trust[method].trust.verdict,
                    "Because": trust[method].trust.reason,
                    **{
                        head: _with_interval(rows[metric]) if metric in rows else "–"
                        for metric, head in zip(metrics, heads, strict=True)
                    },
                }
                for method, rows in scores.items()
            ],
            hide_index=True,
        )


def _show_meanings() -> None:
    from xaibench.metrics import quality_metrics

    with st.expander("What the figures mean"):
        for metric in computed.METRICS:
            st.markdown(f"**{name_label(metric)}**: {meaning(quality_metrics.get(metric))}")


def _show_agreement(found: Mapping[str, Attribution], n: int) -> None:
    from xaibench.explainers.comparison import agreement

    mean = agreement(tuple(found.values()), n).mean(dim=0).tolist()
    names = [method_label(method) for method in found]
    pairs = [(mean[i][j], i, j) for i in range(len(names)) for j in range(i)]
    most, least = max(pairs), min(pairs)
    st.subheader("How far do they agree?")
    st.markdown(
        f"**{plain(names[most[2]])}** and **{plain(names[most[1]])}** agree most (rank correlation {most[0]:.2f}),"
        f" **{plain(names[least[2]])}** and **{plain(names[least[1]])}** least ({least[0]:.2f}).".replace("-", "−")
    )
    texts = [[f"{value:.2f}" for value in row] for row in mean]
    shades = [[max(0.0, value) for value in row] for row in mean]
    chart = heat_map(names, names, shades, texts, hover="%{y} and %{x}: %{text}<extra></extra>")
    alt = "; ".join(f"{names[j]} and {names[i]}: {value:.2f}" for value, i, j in pairs)
    st.plotly_chart(chart, key="agreement", config=STILL, alt=alt)
    st.caption(
        "Mean rank correlation of two methods' values on the same samples: 1 is the same order, 0 none in common."
    )


def _shade(value: float, column: list[float], higher: bool) -> float | None:
    """From 0, the worst of a column, to 1, the best."""
    known = [one for one in column if not math.isnan(one)]
    if math.isnan(value):
        return None
    low, high = min(known), max(known)
    if high == low:
        return 0.5
    share = (value - low) / (high - low)
    return share if higher else 1 - share


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}".replace("-", "−")


def _with_interval(score: Score) -> str:
    low, high = score.interval
    return _number(score.mean) if math.isnan(low) else f"{_number(score.mean)} ({_number(low)} to {_number(high)})"
