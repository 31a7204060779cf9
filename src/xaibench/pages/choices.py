"""What the reader chooses, kept in the page's address so that a view can be sent to somebody."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.widgets import method_widgets
from xaibench.registry import Spec
from xaibench.report.labels import name_label

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["Choices", "choose_method", "choose_model", "choose_sample"]

_FIRST_MODEL = "digits-cnn"
_MOST_EXPLAINERS = 8
_LARGEST_EPS = 0.5


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Methods, and how far the attack may go; ``attack`` is None where none applies."""

    explainers: tuple[str, ...]
    attack: Spec | None = None
    eps: float = 0.0
    unit: str = ""

    @property
    def attack_label(self) -> str:
        """The attack's name for people."""
        return name_label(self.attack.name) if self.attack else ""

    @property
    def reach(self) -> str:
        """How far the attack may go, in words."""
        return f"{self.eps:g} {self.unit}"


def choose_model() -> str | None:
    """A model's name; None, after saying so, where there is no model."""
    from xaibench.zoo import model_homes, model_names

    names = list(model_names())
    if not names:
        st.info(
            f"There are no models in `{model_homes()[0]}`. Train one with `xaibench train RECIPE`,"
            " or name another folder in `XAIBENCH_MODELS_HOME`."
        )
        return None
    first = names.index(_FIRST_MODEL) if _FIRST_MODEL in names else 0
    return st.sidebar.selectbox("Model", names, index=first, key="model", bind="query-params")


def choose_sample(data: Data, predictions: Tensor) -> int | None:
    """The position of a sample among the rows; None, after saying so, where none is of the wanted kind."""
    with st.sidebar:
        kinds = ["All", "Wrong ones", *data.class_names]
        kind = st.selectbox("Show", kinds, key="show", bind="query-params", help="All, only mistakes, or one class.")
        ids = data.ids[_mask(data, predictions, kinds.index(kind or "All"))].tolist()
        if not ids:
            st.info("There is no such sample among those at hand.")
            return None
        row = st.selectbox(f"Sample: row of the {data.split} split", ids, key="sample", bind="query-params")
        here = ids.index(row)
        steps = (
            ("←", "The sample before", ids[here - 1]),
            ("Random", "Any sample", random.choice(ids)),
            ("→", "The next sample", ids[(here + 1) % len(ids)]),
        )
        for column, (label, meaning, target) in zip(st.columns([1, 2, 1]), steps, strict=True):
            column.button(label, help=meaning, on_click=_go_to, args=(target,), width="stretch")
    return data.ids.tolist().index(row)


def _mask(data: Data, predictions: Tensor, kind: int) -> Tensor:
    """Which rows (n,) are of a kind: 0 all, 1 wrong ones, 2 and up a class."""
    if kind == 1:
        return predictions != data.labels
    return data.labels == kind - 2 if kind else data.labels >= 0


def _go_to(row: int) -> None:
    st.session_state["sample"] = row


def choose_method(model: Classifier) -> Choices:
    """Explainers, and an attack with its epsilon where attacks apply."""
    from xaibench.attacks import attacks
    from xaibench.attacks.base import attacks_for
    from xaibench.explainers import DEFAULT_PANEL, explainers

    with st.sidebar:
        shown = st.multiselect(
            "Explanations",
            explainers.names(),
            default=[name for name in DEFAULT_PANEL[model.task] if name in explainers],
            format_func=name_label,
            max_selections=_MOST_EXPLAINERS,
            key="method",
            bind="query-params",
        )
        if model.task == "text":
            return Choices(explainers=tuple(shown))
        colour = model.task == "image" and (model.input_shape or (1,))[0] != 1
        eps = st.slider(
            "Epsilon",
            0.0,
            _LARGEST_EPS,
            0.03 if colour else 0.1,
            0.005,
            format="%.3f",
            key="eps",
            bind="query-params",
            help="The largest change of any pixel, in input units; of a table, as a share of each feature's range.",
        )
        names = attacks_for(model.task)
        name = st.selectbox(
            "Attack",
            names,
            index=names.index("pgd") if "pgd" in names else 0,
            format_func=name_label,
            key="attack",
            bind="query-params",
        )
        with st.expander(f"Settings of {name_label(name)}"):
            spec = method_widgets(attacks, name)
    unit = "of its range in any feature" if model.task == "tabular" else "in any pixel"
    return Choices(explainers=tuple(shown), attack=spec, eps=eps, unit=unit)
