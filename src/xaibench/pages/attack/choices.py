"""What the reader chooses of an attack: norm, radius, method and its settings, the class aimed at, rules of a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.pages.shared.address import forget
from xaibench.pages.shared.options import choose_class, choose_number, choose_one, choose_several
from xaibench.pages.shared.radii import COUNTED, radius_scale, written
from xaibench.pages.shared.text import meaning, plain
from xaibench.pages.shared.widgets import method_widgets
from xaibench.registry import Spec

if TYPE_CHECKING:
    from xaibench.pages.shared.subject import Subject
    from xaibench.threats import Threat
    from xaibench.types import Classifier

__all__ = ["Plan", "choose_plan", "reach"]

_NORMS = {
    "image": {
        "linf": "every pixel a little (L∞)",
        "l2": "a small length in all (L2)",
        "l1": "a small sum of changes (L1)",
        "l0": "few values, by any amount (L0)",
        "spatial": "turn and shift",
    },
    "tabular": {
        "linf": "every feature a little (L∞)",
        "l2": "a small length in all (L2)",
        "l1": "a small sum of changes (L1)",
        "l0": "few features, by any amount (L0)",
    },
    "text": {"words": "a few words"},
}
_FIRST = {"image": "pgd", "tabular": "pgd", "text": "hotflip"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An attack that is to be made on one sample; ``target`` is None where any other class will do."""

    model: Classifier
    norm: str
    eps: float
    largest: float
    """The end of the slider."""
    attack: Spec
    target: int | None = None
    immutable: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether radii are whole numbers."""
        return self.norm in COUNTED

    @property
    def label(self) -> str:
        """The attack's name for people."""
        return name_label(self.attack.name)

    def threat(self, eps: float | None = None) -> Threat:
        """The threat model at a radius, the chosen one by default."""
        from xaibench.evaluate.settle import customary_threat

        rules = {"immutable": self.immutable} if self.immutable else {}
        return customary_threat(self.norm, self.eps if eps is None else eps, self.model, **rules)


def reach(plan: Plan, eps: float | None = None) -> str:
    """How far a change may go, in words: ``0.1 in any pixel``."""
    from xaibench.reading import format_radius, norm_label

    eps = plan.eps if eps is None else eps
    things = {"text": "word", "tabular": "feature", "image": "value"}[plan.model.task]
    if plan.norm == "words":
        return f"{eps:g} edited word{'s' * (eps != 1)}"
    if plan.norm == "l0":
        return f"{eps:g} {things}{'s' * (eps != 1)}"
    if plan.norm == "spatial":
        return f"{30 * eps:.0f}° and {100 * 0.1 * eps:.0f} % of the width"
    if plan.norm == "linf" and plan.model.task == "tabular":
        return f"{100 * eps:.3g} % of its range in any feature"
    radius = format_radius(eps)
    return f"{radius} in any pixel" if plan.norm == "linf" else f"{radius} in {norm_label(plan.norm)}"


def choose_plan(subject: Subject) -> Plan:
    """The widgets, in one row; every choice has a default that makes sense for the model."""
    from xaibench.attacks.base import attacks_for

    model = subject.model
    norms = _NORMS[model.task]
    first, second, third, fourth = st.columns([1.2, 1.6, 1.2, 1.0], gap="medium", vertical_alignment="bottom")
    norm = choose_one(
        first.selectbox, "What may change", norms, key="norm", on_change=forget, args=("eps",), stated=True
    )
    with second:
        eps, largest = _choose_eps(subject, norm)
    exist = [name for name in attacks_for(model.task, norm) if name != "transfer" or _sources(subject)]
    usual = _FIRST[model.task] if _FIRST[model.task] in exist else exist[0]
    names = {name: name_label(name) for name in exist}
    name = choose_one(third.selectbox, "Attack", names, key="attack", default=usual, stated=True)
    with fourth.popover("Settings", icon=":material/tune:", width="stretch"):
        target = _choose_target(subject)
        immutable = _choose_immutable(subject)
        spec = _choose_settings(subject, name)
    return Plan(model=model, norm=norm, eps=eps, largest=largest, attack=spec, target=target, immutable=immutable)


def _choose_eps(subject: Subject, norm: str) -> tuple[float, float]:
    """The radius, and the end of its slider."""
    usual, step, largest = radius_scale(subject.model, norm, tuple(subject.x.shape[1:]))
    eps = choose_number(
        st.slider,
        "Epsilon: words" if norm == "words" else "Epsilon: how far it may go",
        step,
        largest,
        key="eps",
        default=usual,
        write=written,
        step=step,
        format="%d" if norm in COUNTED else "%.3g",
        help="It starts at the radius that the field reports for such data.",
        stated=True,
    )
    return eps, largest


def _choose_target(subject: Subject) -> int | None:
    """The class that the attack is after; None for any."""
    names = subject.model.class_names
    if len(names) < 3:
        return None
    return choose_class(st.selectbox, "Make it say", names, key="aim", none="Anything else", but=subject.prediction)


def _choose_immutable(subject: Subject) -> tuple[int, ...]:
    """Features of a table that nobody can change."""
    if subject.model.task != "tabular":
        return ()
    from xaibench.pages.shared.views import feature_names

    names = dict(enumerate(feature_names(subject.data, subject.x.shape[1])))
    most = len(names) - 1
    return tuple(sorted(choose_several(st.multiselect, "Features that stay as they are", names, key="stay", most=most)))


def _choose_settings(subject: Subject, name: str) -> Spec:
    from xaibench.attacks import attacks

    st.markdown(f"**{plain(name_label(name))}**")
    st.caption(meaning(attacks.get(name)))
    spec = method_widgets(attacks, name)
    if name != "transfer":
        return spec
    source = choose_one(st.selectbox, "Source: the model that is attacked", _sources(subject), key="source")
    return spec.adding({"source": source})


def _sources(subject: Subject) -> list[str]:
    """Other models of the same data, to transfer attacks from."""
    from xaibench.pages.shared import cached
    from xaibench.zoo import model_names

    return [name for name in model_names() if name != subject.name and cached.card(name).data.name == subject.data.name]
