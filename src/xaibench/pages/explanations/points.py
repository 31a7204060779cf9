"""The samples of the map, before and after the attack that was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.errors import UnsupportedError, first_line
from xaibench.pages.explanations import computed
from xaibench.pages.shared import cached
from xaibench.pages.shared.address import choose
from xaibench.pages.shared.radii import radius_scale, written
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["SHOWN", "Attack", "Points", "choose_attack", "points_of"]

SHOWN = 200
"""Points: so many are attacked and laid out in about a second, and can still be told apart."""
_ATTACKS = ("fgsm", "pgd:steps=10", "apgd_ce:steps=10")
"""Attacks quick enough for all points at once."""
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack in Linf by its spec, and its radius."""

    spec: str
    eps: float

    @property
    def name(self) -> str:
        """Without its parameters."""
        return self.spec.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class Points:
    """The samples of the map: n rows, what is said of them, and the same after an attack, if there was one."""

    data: Data
    probabilities: Tensor
    """(n, classes), before the attack."""
    attacked: Tensor | None = None
    after: Tensor | None = None
    """(n,) predictions after the attack."""

    @cached_property
    def before(self) -> Tensor:
        """(n,) predictions."""
        return self.probabilities.argmax(dim=1)

    @cached_property
    def right(self) -> Tensor:
        """(n,) bool: classified correctly before the attack."""
        return self.before == self.data.labels

    @cached_property
    def fooled(self) -> Tensor:
        """(n,) bool: right before the attack and wrong after it."""
        if self.after is None:
            return self.right & False
        return self.right & (self.after != self.data.labels)


def choose_attack(model: Classifier, data: Data) -> Attack | None:
    """Widgets for an attack and its radius; None for texts, whose tokens have no ball around them."""
    if model.task == "text":
        st.caption("Texts are attacked one at a time, on the Attack page.")
        return None
    names = [_NONE, *_ATTACKS]
    spec = choose(
        st.selectbox,
        "Attack",
        names,
        key="map_attack",
        default=_ATTACKS[0],
        valid=names.__contains__,
        format_func=lambda spec: name_label(spec.partition(":")[0]) if spec != _NONE else "No attack",
    )
    if spec == _NONE:
        return None
    shape = tuple(data.inputs.shape[1:])  # type: ignore[union-attr]
    usual, step, largest = radius_scale(model, "linf", shape)
    eps = choose(
        st.slider,
        "Epsilon",
        step,
        largest,
        key="map_eps",
        default=usual,
        read=float,
        write=written,
        valid=lambda eps: step <= eps <= largest,
        step=step,
        format="%.3g",
        help="The largest change of any pixel, in input units; of a table, as a share of each feature's range.",
    )
    return Attack(spec=spec, eps=eps)


def points_of(model: Classifier, data: Data, attack: Attack | None) -> Points:
    """The first rows, and the same after the attack where there is one that applies."""
    key = computed.key_of(model, data)
    said = cached.probabilities(model, data, key)[:SHOWN]
    shown = data.take(range(min(SHOWN, len(data))))
    if attack is None:
        return Points(data=shown, probabilities=said)
    try:
        x, after = computed.attacked_rows(model, data, attack.spec, attack.eps, SHOWN, key)
    except UnsupportedError as error:
        st.caption(plain(f"No attack: {first_line(error)}"))
        return Points(data=shown, probabilities=said)
    return Points(data=shown, probabilities=said, attacked=x, after=after)
