"""What the page computes of many samples, method by method, each once: keyed by digests and specs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from xaibench.errors import UnsupportedError, first_line
from xaibench.pages.shared import cached
from xaibench.reading import radius_axis

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.evaluate.interpreted import ExplanationCurve
    from xaibench.explainers import Attribution
    from xaibench.overview import EmbeddingMap, GlobalImportance
    from xaibench.quality import Assessment
    from xaibench.types import Classifier

__all__ = [
    "METRICS",
    "assessed",
    "attacked_rows",
    "each",
    "embedded",
    "explained_rows",
    "key_of",
    "moved",
    "permuted",
]

T = TypeVar("T")
METRICS = ("faithfulness_correlation", "insertion", "deletion", "random_logit", "max_sensitivity", "complexity")
"""Faithfulness three ways, whether the class matters, stability and complexity: each of another kind of quality."""


def key_of(model: Classifier, data: Data) -> tuple[str, str]:
    """Of both, for caches."""
    return cached.identity(model), data.digest


def each(
    methods: Sequence[str], work: Callable[[str], T], *, doing: Callable[[str], str]
) -> tuple[dict[str, T], dict[str, str]]:
    """``work`` of every method, with a bar that tells how far it is; and the reasons of those that do not apply."""
    found: dict[str, T] = {}
    refused: dict[str, str] = {}
    bar = st.empty()
    for place, method in enumerate(methods):
        bar.progress(place / len(methods), text=f"{doing(method)} ({place + 1} of {len(methods)})")
        try:
            found[method] = work(method)
        except UnsupportedError as error:
            refused[method] = first_line(error)
    bar.empty()
    return found, refused


@st.cache_data(show_spinner=False, max_entries=256)
def assessed(_model: Classifier, _data: Data, method: str, n: int, key: tuple[str, str]) -> Assessment:
    """One method by `METRICS` on the first rows."""
    from xaibench.quality import assess

    with cached.one_at_a_time:
        return assess(_model, _first(_model, _data, n), method, METRICS)


@st.cache_data(show_spinner=False, max_entries=256)
def explained_rows(
    _model: Classifier,
    _data: Data,
    method: str,
    n: int,
    key: tuple[str, str],
    *,
    target: int | None = None,
    checked: bool = True,
) -> Attribution:
    """Attributions of the first rows, with all checks of trust or the quick ones.

    They are for one class, the ``target``, or for the predicted classes.
    """
    from xaibench.explainers import explain

    with cached.one_at_a_time:
        return explain(_model, _first(_model, _data, n), target, method=method, trust="full" if checked else "quick")


@st.cache_data(show_spinner=False, max_entries=128)
def moved(
    _model: Classifier, _data: Data, name: str, method: str, n: int, key: tuple[str, str]
) -> tuple[tuple[ExplanationCurve, ...], str]:
    """How far one method's maps of the first rows of a model are moved, by cause and radius, and the radius's unit."""
    from xaibench.evaluate import Plan, run

    plan = Plan(
        model=name,
        data=_data.name,
        n=n,
        attacks=("hotflip" if _model.task == "text" else "pgd",),
        explainers=(method,),
        assessed=min(n, 2),
        compared=n,
        manipulated=0 if _model.task == "text" else n,
        samples=0,
        proofs=0,
        checks=False,
        minimal=0,
        corruptions=0,
    )
    with cached.one_at_a_time:
        results = run(plan, _model, _data.take(range(min(n, len(_data))))).results
    found, robustness = results.interpretability, results.robustness
    if found is None or not found.curves or robustness is None:
        raise UnsupportedError("; ".join(one.reason for one in results.not_measured) or "no map was moved")
    return found.curves, radius_axis(robustness.norm, robustness.unit)


@st.cache_data(show_spinner="Attacking the samples", max_entries=32)
def attacked_rows(
    _model: Classifier, _data: Data, _places: Sequence[int], spec: str, norm: str, eps: float, key: tuple[str, str]
) -> tuple[Tensor, Tensor]:
    """The rows at some places after an attack on their true classes, and what is predicted of them then.

    They are fewer than were asked for, the first of them, where `_SECONDS` do not suffice. ``key`` stands for the
    model, the data and the places.
    """
    import torch

    from xaibench.attacks import attacks
    from xaibench.evaluate.settle import customary_threat
    from xaibench.types import model_inputs

    rows = _data.take(_places)
    inputs = model_inputs(_model, rows.inputs)
    attack, within = attacks.create(spec), customary_threat(norm, eps, _model)
    size = _TEXTS if _model.task == "text" else _PART
    found, after, start = [], [], time.monotonic()
    for part in range(0, len(rows), size):
        piece = slice(part, part + size)
        with cached.one_at_a_time:
            x = attack(_model, inputs[piece], rows.labels[piece], within, ids=rows.ids[piece])
            found.append(x.cpu())
            after.append(_model.predict(x).cpu())
        if time.monotonic() - start > _SECONDS:
            break
    return torch.cat(found), torch.cat(after)


_PART, _TEXTS = 50, 4
"""Samples, and texts, that are attacked before another session may have the model."""
_SECONDS = 10.0
"""After which no more samples are attacked while the reader waits."""


@st.cache_data(show_spinner="Laying out the map", max_entries=32)
def embedded(
    _model: Classifier,
    _data: Data,
    _others: Tensor | None,
    method: str,
    n: int,
    attack: tuple[str, float, int] | None,
    key: tuple[str, str],
) -> EmbeddingMap:
    """The first rows, and others after an attack, in one plane.

    ``attack``, its spec, radius and number of samples, and ``key`` stand for what is in it.
    """
    from xaibench.overview import embedding_map

    with cached.one_at_a_time:
        return embedding_map(_model, _first(_model, _data, n), _others, method=method)  # type: ignore[arg-type]


@st.cache_data(show_spinner="Permuting the features", max_entries=16)
def permuted(_model: Classifier, _data: Data, score: str, key: tuple[str, str]) -> GlobalImportance:
    """The permutation importance of a table's features."""
    from xaibench.overview import permutation_importance

    with cached.one_at_a_time:
        return permutation_importance(_model, _data, score=score)  # type: ignore[arg-type]


def _first(model: Classifier, data: Data, n: int) -> Tensor:
    """The first rows as the model takes them."""
    from xaibench.types import model_inputs

    return model_inputs(model, data.inputs[:n])
