"""Where the prediction breaks: not below what is proved, and at the smallest radius that an attack was seen to need."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import streamlit as st

from xaibench.errors import InputError, UnsupportedError
from xaibench.pages.attack.choices import reach
from xaibench.pages.attack.curves import show_radii
from xaibench.pages.attack.strikes import key_of, store, strike_at
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import put
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from collections.abc import Hashable

    from xaibench.pages.attack.choices import Plan
    from xaibench.pages.shared.subject import Subject
    from xaibench.robustness import Edge, Strike

__all__ = ["least_break", "show_edge"]

_HALVINGS: Final = 8
"""Down to a 256th of the slider's range."""
_BETWEEN: Final = (0.25, 0.5, 0.75)
"""Shares of the breaking point at which the curve has points too."""
_PATIENCE: Final = 10.0
"""Seconds that a search may take, by the time of one attack, to be made unasked."""
_PROOFS: Final = 6
_PROOF_SECONDS: Final = 10.0
"""A search for the proved radius ends after the proof during which this time runs out."""
_PROVED = ("linf", "l2", "l1")


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The breaking point of one sample, and the attacks that were made to find it, by radius."""

    edge: Edge
    tried: tuple[tuple[float, Strike], ...]


@dataclass(frozen=True, kw_only=True)
class _Proof:
    """The largest radius that was proved; why there is none, if proofs are not to be had."""

    radius: float = 0.0
    refused: str | None = None


def show_edge(subject: Subject, plan: Plan, strike: Strike) -> None:
    """The search, made at once where it is quick and on demand else, and what it found."""
    st.subheader("Where it breaks")
    found = _quick(subject, plan, strike)
    if found is None:
        seconds = _seconds(strike)
        asked = st.button(
            "Find the breaking point", key="find edge", icon=":material/search:", help=f"About {seconds:.0f} s"
        )
        if not asked:
            st.caption(f"The attack takes {strike.seconds:.1f} s; finding the smallest epsilon about {seconds:.0f} s.")
            return
        found = _search(subject, plan)
    proof = _proof(subject, plan, found)
    chart, words = st.columns([1.6, 1], gap="large", vertical_alignment="center")
    with chart:
        show_radii(
            subject.model.class_names[subject.prediction],
            found.tried,
            plan.eps,
            proved=None if proof is None else proof.radius,
            axis=_axis(plan),
            key="radii",
        )
        st.caption("Crosses break it. The attack stops at its first success, so how high a cross stands tells nothing.")
    with words:
        _say(subject, plan, found, proof)


def least_break(subject: Subject, plan: Plan, strike: Strike) -> tuple[float, Strike] | None:
    """The smallest radius at which the attack succeeds, and what it finds there; None where it takes long to know.

    If it succeeds at none, the end of the slider.
    """
    found = _quick(subject, plan, strike)
    if found is None:
        return None
    return next(((radius, one) for radius, one in found.tried if one.broken), found.tried[-1])


def _quick(subject: Subject, plan: Plan, strike: Strike) -> _Found | None:
    """What was found before, or can be without asking the reader to wait."""
    found: _Found | None = store().get(_key(subject, plan))
    return _search(subject, plan) if found is None and _seconds(strike) <= _PATIENCE else found


def _key(subject: Subject, plan: Plan) -> tuple[Hashable, ...]:
    return key_of(subject, plan, "edge", plan.largest)


def _seconds(strike: Strike) -> float:
    """About how long the search takes, by one attack."""
    return strike.seconds * (1 + _HALVINGS)


def _axis(plan: Plan) -> str:
    counted = {"words": "edited words", "l0": "changed features" if plan.model.task == "tabular" else "changed values"}
    share = " (shares of each feature's range)" if plan.model.task == "tabular" else ""
    return counted.get(plan.norm, f"epsilon{share}")


def _search(subject: Subject, plan: Plan) -> _Found:
    from xaibench.robustness import edge

    tried: dict[float, Strike] = {}
    bar = st.progress(0.0, "Looking for the smallest epsilon")

    def breaks(radius: float) -> bool:
        radius = _tidy(plan, radius)
        tried[radius] = strike_at(subject, plan, radius)
        bar.progress(min(1.0, len(tried) / (1 + _HALVINGS + len(_BETWEEN))), f"epsilon {radius:g}")
        return tried[radius].broken

    found = edge(breaks, plan.largest, steps=_HALVINGS, whole=plan.whole)
    if found.yes is not None:
        found = replace(found, no=_tidy(plan, found.no), yes=_tidy(plan, found.yes))
    end = found.yes if found.yes is not None else plan.largest
    for share in _BETWEEN:
        if not plan.whole and share * end >= plan.largest * 1e-3:
            breaks(share * end)
    bar.empty()
    result = _Found(edge=found, tried=tuple(sorted(tried.items())))
    return store().put(_key(subject, plan), result)


def _tidy(plan: Plan, radius: float) -> float:
    """A radius that reads the same wherever it stands."""
    return int(radius) if plan.whole else float(f"{radius:.6g}")


def _proof(subject: Subject, plan: Plan, found: _Found) -> _Proof | None:
    """What can be proved; None where nothing of the kind exists for the threat, or it is not asked for yet."""
    if plan.norm not in _PROVED or plan.immutable:
        return None
    key = (*subject.key, plan.norm, "proof", found.edge.yes or plan.largest)
    kept: _Proof | None = store().get(key)
    if kept is not None:
        return kept
    with st.spinner("Looking for what can be proved"):
        return store().put(key, _prove(subject, plan, found.edge.yes or plan.largest))


def _prove(subject: Subject, plan: Plan, high: float) -> _Proof:
    import torch

    from xaibench.certify import Prover
    from xaibench.robustness import edge

    start = time.monotonic()
    try:
        with cached.one_at_a_time:
            prover = Prover(subject.model, subject.x, torch.tensor([subject.prediction]))
        radius = edge(
            lambda radius: time.monotonic() - start > _PROOF_SECONDS or not bool(prover(plan.threat(radius))),
            high,
            steps=_PROOFS,
        ).no
    except UnsupportedError as error:
        return _Proof(refused=str(error))
    return _Proof(radius=radius)


def _nearest(subject: Subject, plan: Plan) -> float | None:
    """The distance of the example that an attack on the smallest perturbation finds; None without one."""
    if plan.norm in ("words", "spatial") or plan.target is not None or plan.immutable:
        return None
    from xaibench.registry import Spec

    minimal = replace(plan, attack=Spec("fmn"))
    try:
        strike = strike_at(subject, minimal, plan.largest)
    except (UnsupportedError, InputError):
        return None
    if not strike.broken:
        return None
    return float(strike.threat.distance(strike.found, strike.x))


def _say(subject: Subject, plan: Plan, found: _Found, proof: _Proof | None) -> None:
    name = plain(subject.model.class_names[subject.prediction])
    at, label = found.edge.yes, plain(plan.label)
    if at is None:
        st.markdown(f"{label} does not break it up to **{plain(reach(plan, plan.largest))}**, the end of the slider.")
    else:
        st.markdown(f"{label} first breaks **{name}** at **{plain(reach(plan, at))}**.")
        eps = {"eps": f"{at:.9g}"}
        st.button("Set epsilon to the breaking point", key="to edge", on_click=put, kwargs=eps)
    if proof is not None and proof.refused:
        st.caption(plain(f"Nothing can be proved here: {proof.refused}"))
    elif proof is not None:
        below = f"No change of at most **{plain(reach(plan, proof.radius))}** breaks it: that is proved."
        st.markdown(below if proof.radius else "Linear bounds prove nothing at any radius that was tried.")
    nearest = _nearest(subject, plan)
    if nearest is not None:
        st.caption(f"The nearest example that FMN finds is {nearest:.4g} away.")
