"""What a new training is to do: objective, threat and budget, as the reader chooses them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.errors import InputError
from xaibench.pages.shared.address import choose, forget
from xaibench.pages.shared.options import choose_number, choose_one
from xaibench.pages.shared.text import meaning
from xaibench.pages.shared.widgets import method_widgets
from xaibench.reading import norm_label
from xaibench.registry import Spec

if TYPE_CHECKING:
    from xaibench.card import Card
    from xaibench.training import Recipe

__all__ = ["MOST_EPOCHS", "MOST_SETTING", "Plan", "choose_plan"]

MOST_EPOCHS = 100
"""Passes over the data: hardened models are at their best before, as a rule."""
MOST_SETTING = 200
"""The largest whole number as a setting of an objective, such as its attack's steps."""
_SOME_ROWS = (500, 1000, 2000, 5000, 10_000, 20_000)
_FIRST_ROWS = 5000
"""Rows of larger data that are offered first: a training of minutes, not hours."""
_NO_HARDENING = ("reconstruction", "standard")
"""Objectives that know no disturbance."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training to be: ``rows`` None for all there are."""

    model: str
    objective: Spec
    norm: str
    eps: float
    epochs: int
    rows: int | None
    from_scratch: bool

    @property
    def arguments(self) -> tuple[str, ...]:
        """As after ``xaibench``, but for the folder to write."""
        return (
            *("harden", self.model, "--objective", str(self.objective), "--norm", self.norm, "--eps", f"{self.eps:g}"),
            *("--epochs", str(self.epochs)),
            *(("--n", str(self.rows)) if self.rows else ()),
            *(("--from-scratch",) if self.from_scratch else ()),
        )

    def recipe(self) -> Recipe:
        """The recipe that the command derives; `InputError` for what does not fit."""
        from xaibench.training.hardening import hardening_recipe

        return hardening_recipe(
            self.model,
            objective=self.objective,
            norm=self.norm,
            eps=self.eps,
            from_scratch=self.from_scratch,
            changes={"epochs": self.epochs} | ({"n": self.rows} if self.rows else {}),
        )


def choose_plan(name: str, card: Card) -> Plan:
    """Widgets for a training of a model; what is outside the app's limits raises `InputError`."""
    objective = _choose_objective(card)
    norms = {"words": "words"} if card.task == "text" else {norm: norm_label(norm) for norm in ("linf", "l2", "l1")}
    first, second = st.columns(2)
    with first:
        norm = choose_one(
            st.selectbox,
            "Changes measured by",
            norms,
            key="norm",
            on_change=forget,
            args=("eps",),
            help="The norm of the changes that the copy is trained to withstand.",
        )
    with second:
        eps = _choose_eps(card, norm)
    epochs = choose_number(st.slider, "Epochs, at most", 1, MOST_EPOCHS, key="epochs", default=20)
    rows = _choose_rows(card)
    scratch = choose(
        st.toggle,
        "Begin with new weights",
        key="scratch",
        default=False,
        read=lambda text: text == "yes",
        write=lambda value: "yes" if value else "no",
        help="Otherwise the training goes on from the model's own weights.",
    )
    return Plan(model=name, objective=objective, norm=norm, eps=eps, epochs=epochs, rows=rows, from_scratch=scratch)


def _choose_objective(card: Card) -> Spec:
    from xaibench.training.hardening import default_objective
    from xaibench.training.objectives import objectives, objectives_for

    exist = [name for name in objectives_for(card.task) if name not in _NO_HARDENING and _is_complete(name)]
    names = {name: name_label(name) for name in exist}
    name = choose_one(st.selectbox, "Objective", names, key="objective", default=default_objective(card.task))
    st.caption(meaning(objectives.get(name)))
    with st.expander(f"Settings of {name_label(name)}"):
        spec = method_widgets(objectives, name)
    for key, value in spec.params.items():
        if isinstance(value, int) and value > MOST_SETTING:
            raise InputError(f"expected `{key}` of at most {MOST_SETTING} here, got {value}")
    objectives.create(spec)  # what is wrong with it is said now
    return spec


def _is_complete(name: str) -> bool:
    """Whether an objective needs no setting without a default, such as a teacher."""
    from xaibench.training.objectives import objectives

    parameters = inspect.signature(objectives.get(name)).parameters.values()
    return all(parameter.default is not inspect.Parameter.empty for parameter in parameters)


def _choose_eps(card: Card, norm: str) -> float:
    from xaibench.evaluate.settle import customary_eps
    from xaibench.types import Bounds

    customary = float(f"{customary_eps(norm, card.task, card.input_shape, Bounds(*card.bounds)):.4g}")
    words = norm == "words"
    label = "Words, at most" if words else "Epsilon"
    return choose(
        st.number_input,
        label,
        key="eps",
        default=customary,
        read=float,
        write=lambda eps: f"{eps:g}",
        valid=lambda eps: 0 < eps <= 50 * customary and (not words or eps == int(eps)),
        min_value=1.0 if words else 0.0,
        max_value=50 * customary,
        step=1.0 if words else float(f"{customary / 8:.1g}"),
        format="%.0f" if words else "%.4g",
        help="The radius to train against; the customary one unless you choose another.",
    )


def _choose_rows(card: Card) -> int | None:
    """How many training rows; None for all."""
    from xaibench.data import row_count

    total = row_count(card.data.name, card.data.train_split)
    some = {count: f"{count:,}" for count in _SOME_ROWS if count < total}
    if not some:
        return None
    first = _FIRST_ROWS if total > 2 * _FIRST_ROWS else total
    rows = choose_one(st.select_slider, "Training rows", some | {total: f"all {total:,}"}, key="rows", default=first)
    return None if rows == total else rows
