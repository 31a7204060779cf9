"""Choosing what is measured, and starting it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.robustness.plan import PRESETS, Wanted, arguments, customary, estimate, report_name, shape
from xaibench.pages.shared.address import choose, forget, part
from xaibench.pages.shared.finished import all_reports
from xaibench.pages.shared.limits import MOST_EVALUATED
from xaibench.pages.shared.options import choose_number, choose_one, choose_view
from xaibench.pages.shared.running import launch
from xaibench.places import inside, reports_home

if TYPE_CHECKING:
    from xaibench.card import Card
    from xaibench.report import Report

__all__ = ["show_launch"]

_NORMS = {
    "linf": "L∞: the largest change",
    "l2": "L2: the Euclidean length",
    "l1": "L1: the sum",
    "l0": "L0: the count",
}
_MOST_ALIKE = 20
"""Reports on other models that a run is judged by."""
_VERDICT = "Verdict: the strongest that fit, cheap ones first"


@part
def show_launch(name: str, card: Card, before: Report | None) -> None:
    """Widgets for what is measured, how long that takes, and the button that starts it.

    ``before`` is an earlier report on the model, which tells how fast it is.
    """
    wanted = _choose(name, card)
    st.caption(_duration(wanted, before))
    if not st.button("Start", type="primary", icon=":material/play_arrow:", key="start"):
        return
    from xaibench.jobs import start

    report = report_name(name)
    out = inside(reports_home(), report)
    expected, like = _expected(wanted, before), _like(wanted, before)
    words, title = arguments(wanted, str(out)), _title(wanted)
    if launch(lambda: start(words, kind="report", title=title, out=out, expected=expected, like=like)):
        forget("evaluation")
        st.rerun()


def _choose(name: str, card: Card) -> Wanted:
    labels = {key: preset.label for key, preset in PRESETS.items()}
    preset = PRESETS[choose_view("How much", labels, key="preset", on_change=forget, args=("n",))]
    st.caption(f"{preset.label}: {preset.meaning}.")
    left, middle, right = st.columns(3)
    n = choose_number(
        left.number_input,
        "Samples",
        1,
        MOST_EVALUATED,
        key="n",
        default=preset.n,
        step=10,
        help=f"Drawn from the {card.data.test_split} split by seed 0; more than {MOST_EVALUATED} from a terminal.",
    )
    norm = "words"
    if card.task != "text":
        norm = choose_one(middle.selectbox, "Changes measured by", _NORMS, key="norm", on_change=forget, args=("eps",))
    eps = choose(
        (middle if card.task == "text" else right).number_input,
        "Words that may change" if card.task == "text" else "Epsilon",
        key="eps",
        default=None,
        read=float,
        write=lambda eps: "" if eps is None else repr(eps),
        valid=lambda eps: eps is None or 0 < eps < float("inf"),
        value=None,
        min_value=0.0,
        step=1.0 if norm in ("l0", "words") else 0.01,
        format="%.6g",
        placeholder=f"{customary(card, norm):.4g}, the customary one",
        help=_radius_help(card.task),
    )
    return Wanted(
        model=name, task=card.task, preset=preset, n=n, norm=norm, eps=eps or None, attack=_choose_attack(card)
    )


def _choose_attack(card: Card) -> str:
    from xaibench.attacks import attacks
    from xaibench.attacks.base import attacks_for
    from xaibench.drawing.labels import name_label
    from xaibench.pages.shared.widgets import method_widgets
    from xaibench.robustness import ensemble_names

    others = [] if card.task == "text" else sorted(set(ensemble_names()) - {"verdict"})
    ensembles = ["verdict", *others]
    names = {name: name_label(name) for name in (*ensembles, *attacks_for(card.task))}
    name = choose_one(
        st.selectbox,
        "Attack",
        names | {"verdict": _VERDICT},
        key="against",
        help="One weak attack makes any model look robust; take another than Verdict to compare with it.",
    )
    if name in ensembles:
        return name
    with st.expander(f"Settings of {name_label(name)}"):
        return str(method_widgets(attacks, name))


def _radius_help(task: str) -> str:
    return {
        "image": "How far an attack may go, in units of the input (0 to 1 for pixels).",
        "tabular": "How far an attack may go, as a share of each feature's range.",
        "text": "How many words an attack may change in a text.",
    }[task]


def _expected(wanted: Wanted, before: Report | None) -> float | None:
    """How many seconds the run will take; None without a report by the same attack."""
    return estimate(wanted, before) if before is not None and _attacked_alike(wanted, before) else None


def _like(wanted: Wanted, before: Report | None) -> list[dict[str, float]]:
    """The shape of an earlier run of the model by the same attack, else those of other models of its kind."""
    if before is not None and _attacked_alike(wanted, before):
        return [shape(wanted, before)]
    alike = [one for one in all_reports() if one.model.task == wanted.task and _attacked_alike(wanted, one)]
    return [shape(wanted, one) for one in alike[:_MOST_ALIKE]]


def _attacked_alike(wanted: Wanted, before: Report) -> bool:
    """Whether an earlier run attacked so within the same norm: others differ a thousandfold."""
    return (before.plan.norm, *before.plan.attacks[-1:]) == (wanted.norm, wanted.attack)


def _duration(wanted: Wanted, before: Report | None) -> str:
    from xaibench.cli.stages import show_time

    seconds = _expected(wanted, before)
    if seconds is None:
        return "How long this takes shows once it has begun; a small model and a quick run take half a minute."
    return f"Takes about {show_time(seconds)}, judged by the last report on this model."


def _title(wanted: Wanted) -> str:
    from xaibench.drawing.labels import method_label
    from xaibench.reading import format_radius, norm_label

    radius = "" if wanted.eps is None else f" {format_radius(wanted.eps)}"
    return f"{wanted.model}: {wanted.n} samples, {norm_label(wanted.norm)}{radius}, {method_label(wanted.attack)}"
