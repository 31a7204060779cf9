"""Methods in the order in which they find what is known to be the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import method_label, name_label
from xaibench.pages.explanations.charts import interval_bars
from xaibench.pages.explanations.rankings import find_rankings, place_of
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import forget, keep
from xaibench.pages.shared.charts import STILL, described
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.tables import share_table
from xaibench.pages.shared.text import meaning, plain
from xaibench.reading import listed

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from xaibench.quality import RankingRecord

__all__ = ["show_ranking"]

_EXAMPLE = "evidence-cnn"
_SEEN = "_ranking.model"
_CHANCE = 0.025
_NAMED = 4
"""Methods that a sentence names."""
_FEWEST, _MOST, _USUAL = 8, 64, 32
"""Samples of a ranking: fewer tell nothing apart, more take an hour."""


def show_ranking(model: str) -> None:
    """The ranking of a model, or the example's until it has one; and the way to make one."""
    rankings = find_rankings()
    if st.session_state.setdefault(_SEEN, model) != model:  # its own ranking is wanted, not the one of the model before
        st.session_state[_SEEN] = model
        forget("ranking", "metric")
    if rankings:
        own = [name for name, one in rankings.items() if one.model == model]
        first = own[-1] if own else _EXAMPLE if _EXAMPLE in rankings else next(iter(rankings))
        if not own:
            st.caption(
                plain(f"{model} has no ranking yet: below you can start one. Here is that of {rankings[first].model}.")
            )
        left, right = st.columns([2, 1], gap="medium")
        titles = {name: _title(one) for name, one in rankings.items()}
        name = choose_one(left.selectbox, "Ranking", titles, key="ranking", default=first)
        _show(rankings[name], right)
    _start(model)


def _title(found: RankingRecord) -> str:
    return f"{found.model}, {found.n} samples of {found.data} ({found.split})"


def _show(found: RankingRecord, beside: DeltaGenerator) -> None:
    from xaibench.metrics import quality_metrics

    metrics = {metric: name_label(metric) for metric in found.metrics}
    metric = choose_one(beside.selectbox, "Order by", metrics, key="metric", default=found.by)
    rows = found.of_metric(metric)
    if not rows:
        st.info("No method has this figure.")
        return
    st.markdown(verdict(found, metric))
    told = f"{meaning(quality_metrics.get(metric))} " if metric in quality_metrics else ""
    st.caption(f"{told}Lines are 95 % intervals; dark bars may be as good as the first, by chance.")
    names = [method_label(row.method) for row in rows]
    means = [row.mean or 0.0 for row in rows]
    level = as_good_as_first(found, metric)
    chart = interval_bars(
        names,
        means,
        [row.interval for row in rows],
        strong=[row.method in level for row in rows],
        axis=f"{name_label(metric)} ({'higher' if rows[0].higher_is_better else 'lower'} is better)",
    )
    st.plotly_chart(chart, key="ranked", config=STILL, alt=described(names, {metric: means}))
    with st.expander("All figures"):
        _table(found)
    if found.refused:
        with st.expander(f"What does not apply ({len(found.refused)})"):
            for one in found.refused:
                what = method_label(one.method) if one.metric is None else f"{name_label(one.metric)} of {one.method}"
                st.caption(plain(f"{what}: {one.reason}"))
    st.caption(
        plain(
            f"Made by xaibench rank-explainers {found.model} --split {found.split} --n {found.n + found.left_out}"
            f" --seed {found.seed} --out FOLDER."
        )
        + (f" {found.left_out} samples that the model gets wrong are left out." if found.left_out else "")
        + _outdated(found)
    )


def _outdated(found: RankingRecord) -> str:
    from xaibench.homes import model_names

    if found.model in model_names() and cached.card(found.model).weights_digest != found.model_digest:
        return " The model has changed since."
    return ""


def as_good_as_first(found: RankingRecord, metric: str) -> tuple[str, ...]:
    """The first method by a metric, and those that may be as good by chance.

    By the metric that orders, these come first on more than 2.5 % of the redrawn samples; by others, their interval
    reaches that of the first.
    """
    rows = found.of_metric(metric)
    if metric == found.by:
        return tuple(row.method for row in found.ranking if row is found.ranking[0] or row.first > _CHANCE)
    better = 0 if rows[0].higher_is_better else 1
    edge = rows[0].interval[better]
    return tuple(
        row.method for row in rows if row is rows[0] or (edge is not None and _reaches(row.interval, edge, better))
    )


def _reaches(interval: tuple[float | None, float | None], edge: float, better: int) -> bool:
    end = interval[1 - better]
    return end is not None and (end >= edge if better == 0 else end <= edge)


def verdict(found: RankingRecord, metric: str) -> str:
    """What a ranking says, in two or three sentences, as Markdown."""
    rows = found.of_metric(metric)
    first, last = rows[0], rows[-1]
    low, high = first.interval
    within = "" if low is None or high is None else f" (95 % interval {low:.2f} to {high:.2f})"
    text = (
        f"#### {plain(method_label(first.method))} comes first\n{plain(name_label(metric))}"
        f" **{first.mean:.2f}**{within} on {found.n} samples."
    )
    level = [plain(method_label(method)) for method in as_good_as_first(found, metric)[1:]]
    if level:
        text += f" {listed(level, _NAMED)} may be as good: the difference is within chance."
    if len(rows) > 1:
        text += f" Last is {plain(method_label(last.method))} with {last.mean:.2f}."
    if metric == "spurious_mass":
        text += (
            " A model that leans on the watermark shows it here: the methods at the *end* of this list point at it,"
            " and are right to."
        )
    return text


def _table(found: RankingRecord) -> None:
    better = {row.metric: row.higher_is_better for row in found.scores}
    means = {(row.method, row.metric): row.mean for row in found.scores}
    heads = {metric: f"{name_label(metric)} {'↑' if better[metric] else '↓'}" for metric in found.metrics}
    rows = [
        {
            "Place": f"{'=' if row.tied else ''}{row.place}",
            "Method": method_label(row.method),
            **{heads[metric]: means.get((row.method, metric)) for metric in found.metrics},
            "First in": row.first,
        }
        for row in found.ranking
    ]
    st.dataframe(
        share_table(rows, ("First in",)),
        hide_index=True,
        placeholder="–",
        column_config={
            **{head: st.column_config.NumberColumn(format="%.3f") for head in heads.values()},
            "First in": st.column_config.NumberColumn(help="Share of redrawn samples on which the method comes first"),
        },
    )


def _start(model: str) -> None:
    from xaibench.pages.shared.running import launch, show_job
    from xaibench.pages.shared.runs import RANKING

    st.subheader("Rank the methods on a model of yours")
    with st.form("rank", border=False):
        left, right = st.columns([3, 1], vertical_alignment="bottom")
        n = left.slider("Samples", _FEWEST, _MOST, _USUAL, help="Intervals shrink with their square root.")
        card = cached.card(model)
        pressed = right.form_submit_button(f"Rank on {model}", icon=":material/leaderboard:", width="stretch")
    st.caption(
        plain(f"On {card.data.name}: every method that applies, some minutes. It goes on when you leave the page.")
    )
    if pressed:
        from xaibench.jobs import start

        arguments = ("rank-explainers", model, "--n", str(n))
        out = place_of(arguments)
        title = f"Ranking of explainers on {model}"
        launch(lambda: start((*arguments, "--out", str(out)), kind="rank", title=title, out=out), key=RANKING)
    if run := keep(RANKING):
        show_job(run)
