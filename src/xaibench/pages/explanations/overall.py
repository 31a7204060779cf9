"""What matters to the model over many samples: features of a table, words of texts, places of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import method_label, name_label
from xaibench.errors import UnsupportedError, first_line
from xaibench.pages.explanations import computed
from xaibench.pages.shared import cached
from xaibench.pages.shared.charts import STILL, described
from xaibench.pages.shared.options import choose_one
from xaibench.pages.shared.pictures import attribution_figure, gallery
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from xaibench.data import Data
    from xaibench.explainers import Attribution
    from xaibench.overview import GlobalImportance
    from xaibench.types import Classifier

__all__ = ["show_overall"]

_SAMPLES = 100
"""Explained samples: their mean settles to a few percent."""
_MOST = 15
_MOST_CLASSES = 12


def show_overall(name: str) -> None:
    """Importance with intervals, by one method that is chosen; for tables by permutation too."""
    from xaibench.explainers import explainers

    model, data = cached.subject_rows(name)
    usual = "saliency" if model.task == "image" else "integrated_gradients"
    with st.sidebar:
        names = {name: name_label(name) for name in explainers}
        method = choose_one(st.selectbox, "Explanation", names, key="by", default=usual)
        target = _choose_class(data) if model.task == "tabular" else None
    n = min(_SAMPLES, len(data))
    try:
        with st.spinner(f"Explaining {n} samples"):
            key = computed.key_of(model, data)
            found = computed.explained_rows(model, data, method, n, key, target=target, checked=False)
    except UnsupportedError as error:
        st.info(plain(f"{name_label(method)} does not apply: {first_line(error)}"))
        return
    if model.task == "image":
        _show_places(data, found, n)
    elif model.task == "text":
        _show_words(found, n)
    else:
        _show_features(model, data, found, n)


def _choose_class(data: Data) -> int:
    """The class that values of a table push towards or away from."""
    names = dict(enumerate(data.class_names))
    return choose_one(st.selectbox, "Class", names, key="target", default=len(names) - 1)


def _show_places(data: Data, found: Attribution, n: int) -> None:
    """Where the sizes of attributions lie on average, for all samples and by predicted class."""
    sizes = found.values.detach().cpu().abs()
    sizes = sizes / sizes.flatten(1).amax(dim=1).clamp_min(1e-30)[:, None, None, None]
    label = plain(method_label(found.method))
    st.markdown(f"#### Where {label} looks, on average over {n} samples\nEach sample counts alike, whatever its scale.")
    cells = [attribution_figure(sizes.mean(dim=0), f"all {n} samples", signed=False)]
    target = found.target.cpu()
    for index, name in list(enumerate(data.class_names))[:_MOST_CLASSES]:
        own = sizes[target == index]
        if len(own):
            cells.append(attribution_figure(own.mean(dim=0), f"{name}, {len(own)} samples", signed=False))
    st.html(gallery(cells))
    st.caption("Violet is strength without a sign. Classes are the predicted ones.")


def _show_words(found: Attribution, n: int) -> None:
    from xaibench.overview import global_importance, importance_figure

    overall = global_importance(found)
    common = overall.count >= _TEXTS
    st.markdown(f"#### The words that matter most over {n} texts\nOf the words that occur in {_TEXTS} texts or more.")
    if not bool(common.any()):
        st.info("No word occurs so often.")
        return
    from dataclasses import replace

    some = replace(
        overall,
        names=tuple(name for name, kept in zip(overall.names, common.tolist(), strict=True) if kept),
        **{part: getattr(overall, part)[common] for part in ("mean", "low", "high", "count")},
        by_class=None,
    )
    _show_bars(importance_figure(some, most=_MOST), some, key="words")


_TEXTS = 3
"""Texts that a word has to occur in: the mean of fewer says more of the text than of the word."""


def _show_features(model: Classifier, data: Data, found: Attribution, n: int) -> None:
    from xaibench.overview import beeswarm, importance_figure, swarm_figure

    permuted = computed.permuted(model, data, "loss", computed.key_of(model, data))
    first = permuted.names[int(permuted.top(1)[0])]
    st.markdown(
        f"#### {plain(first[:1].upper() + first[1:])} matters most\nWhen its values are dealt out anew among the"
        f" {len(data)} rows, the cross-entropy rises by {float(permuted.mean.max()):.2g}."
    )
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**What is lost without a feature**, by permutation")
        _show_bars(importance_figure(permuted, most=_MOST), permuted, key="permuted")
        st.caption("Features that say the same thing share no blame: permuting one alone costs little.")
    with right:
        towards = plain(data.class_names[int(found.target[0])])
        st.markdown(f"**What pushes towards {towards}**, by {plain(method_label(found.method))}, {n} rows")
        swarm = beeswarm(found, data.inputs[:n], names=data.feature_names, most=_MOST)  # type: ignore[arg-type]
        means = swarm.attribution.abs().mean(dim=0).tolist()
        alt = described(swarm.names, {"mean size": means})
        st.plotly_chart(swarm_figure(swarm), key="swarm", config=STILL, alt=alt)
        st.caption(f"A point is a row: to the right it speaks for {towards}. Its colour is the feature's own value.")


def _show_bars(chart: object, found: GlobalImportance, *, key: str) -> None:
    top = found.top(_MOST).tolist()
    alt = described([found.names[place] for place in top], {found.measure: [float(found.mean[place]) for place in top]})
    st.plotly_chart(chart, key=key, config=STILL, alt=alt)
