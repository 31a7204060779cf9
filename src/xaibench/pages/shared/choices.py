"""What the reader chooses, kept in the page's address so that a view can be sent to somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared.address import choose
from xaibench.pages.shared.widgets import method_widgets
from xaibench.registry import Spec
from xaibench.report.labels import name_label

if TYPE_CHECKING:
    from xaibench.types import Classifier

__all__ = ["Choices", "choose_method"]

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


def choose_method(model: Classifier) -> Choices:
    """Explainers, and an attack with its epsilon where attacks apply."""
    from xaibench.attacks import attacks
    from xaibench.attacks.base import attacks_for
    from xaibench.explainers import DEFAULT_PANEL, explainers

    with st.sidebar:
        names = explainers.names()
        shown = choose(
            st.multiselect,
            "Explanations",
            names,
            key="method",
            default=[name for name in DEFAULT_PANEL[model.task] if name in explainers],
            read=lambda text: [name for name in text.split(",") if name],
            write=",".join,
            valid=lambda chosen: set(chosen) <= set(names),
            format_func=name_label,
            max_selections=_MOST_EXPLAINERS,
        )
        if model.task == "text":
            return Choices(explainers=tuple(shown))
        colour = model.task == "image" and (model.input_shape or (1,))[0] != 1
        eps = choose(
            st.slider,
            "Epsilon",
            0.0,
            _LARGEST_EPS,
            key="eps",
            default=0.03 if colour else 0.1,
            read=float,
            valid=lambda eps: 0 <= eps <= _LARGEST_EPS,
            step=0.005,
            format="%.3f",
            help="The largest change of any pixel, in input units; of a table, as a share of each feature's range.",
        )
        names = attacks_for(model.task)
        first = "pgd" if "pgd" in names else names[0]
        name = choose(
            st.selectbox, "Attack", names, key="attack", default=first, valid=names.__contains__, format_func=name_label
        )
        with st.expander(f"Settings of {name_label(name)}"):
            spec = method_widgets(attacks, name)
    unit = "of its range in any feature" if model.task == "tabular" else "in any pixel"
    return Choices(explainers=tuple(shown), attack=spec, eps=eps, unit=unit)
