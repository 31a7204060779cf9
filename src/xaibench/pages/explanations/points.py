"""The samples of the map, before and after the attack that was chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.drawing.edits import exchanged
from xaibench.drawing.labels import name_label
from xaibench.errors import UnsupportedError, first_line
from xaibench.pages.explanations import computed
from xaibench.pages.shared import cached
from xaibench.pages.shared.options import choose_number, choose_one
from xaibench.pages.shared.radii import radius_scale, written
from xaibench.pages.shared.text import plain
from xaibench.reading import format_threat

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.types import Classifier

__all__ = ["SHOWN", "Attack", "Points", "choose_attack", "edits_of", "points_of"]

SHOWN = 200
"""Points: so many are attacked and laid out in about a second, and can still be told apart."""
_MOST_TEXTS = 40
"""Texts that are attacked: each takes a tenth of a second and more."""
_MOST_EDITS = 6
"""Edits of a text that are told where a point is hovered over."""
_ATTACKS = {
    "image": ("fgsm", "pgd:steps=10", "apgd_ce:steps=10"),
    "tabular": ("fgsm", "pgd:steps=10", "apgd_ce:steps=10"),
    "text": ("hotflip:beam=1,candidates=8", "character_edits"),
}
"""Attacks quick enough for many points at once, by task."""
_NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """An attack by its spec, its norm and its radius."""

    spec: str
    norm: str
    eps: float

    @property
    def name(self) -> str:
        """Without its parameters."""
        return self.spec.partition(":")[0]

    @property
    def reach(self) -> str:
        """The radius in words."""
        return format_threat(self.norm, self.eps) if self.norm == "words" else f"{self.eps:.3g}"


@dataclass(frozen=True, kw_only=True)
class Points:
    """The samples of the map: n rows, what is said of them, and the same of those that were attacked, if any were."""

    data: Data
    probabilities: Tensor
    """(n, classes), before the attack."""
    places: Tensor | None = None
    """(m,) positions of the rows that were attacked."""
    attacked: Tensor | None = None
    """(m, ...) as the model takes them."""
    after: Tensor | None = None
    """(m,) predictions after the attack."""

    @cached_property
    def before(self) -> Tensor:
        """(n,) predictions."""
        return self.probabilities.argmax(dim=1)

    @cached_property
    def right(self) -> Tensor:
        """(n,) bool: classified correctly before the attack."""
        return self.before == self.data.labels

    @cached_property
    def then(self) -> Tensor:
        """(n,) predictions after the attack; of a sample that was not attacked, those before."""
        found = self.before.clone()
        if self.places is not None and self.after is not None:
            found[self.places] = self.after
        return found

    @cached_property
    def fooled(self) -> Tensor:
        """(n,) bool: right before the attack and wrong after it."""
        return self.right & (self.then != self.data.labels)

    @property
    def struck(self) -> int:
        """How many of the samples that were right have been attacked."""
        return 0 if self.places is None else int(self.right[self.places].sum())

    def attacked_at(self, place: int) -> Tensor | None:
        """The sample (1, ...) at a position after the attack; None where it was not attacked."""
        if self.places is None or self.attacked is None:
            return None
        found = self.attacked[self.places == place]
        return found if len(found) else None


def choose_attack(model: Classifier, data: Data) -> Attack | None:
    """Widgets for an attack and its radius: in Linf, and of texts in edited words; None for no attack."""
    attacks = {spec: name_label(spec.partition(":")[0]) for spec in _ATTACKS[model.task]}
    usual = next(iter(attacks))
    spec = choose_one(st.selectbox, "Attack", {_NONE: "No attack"} | attacks, key="map_attack", default=usual)
    if spec == _NONE:
        return None
    norm = "words" if model.task == "text" else "linf"
    customary, step, largest = radius_scale(model, norm, _shape(model, data))
    eps = choose_number(
        st.slider,
        "Edited words" if norm == "words" else "Epsilon",
        step,
        largest,
        key="map_words" if norm == "words" else "map_eps",
        default=customary,
        write=written,
        step=step,
        format="%d" if norm == "words" else "%.3g",
        help="How many words of a text may be changed."
        if norm == "words"
        else "The largest change of any pixel, in input units; of a table, as a share of each feature's range.",
    )
    return Attack(spec=spec, norm=norm, eps=eps)


def _shape(model: Classifier, data: Data) -> tuple[int, ...]:
    """Of one sample, as the model takes it."""
    from xaibench.types import model_inputs

    return tuple(model_inputs(model, data.inputs[:1]).shape[1:])


def points_of(model: Classifier, data: Data, attack: Attack | None) -> Points:
    """The first rows, and the same after the attack where there is one that applies.

    Of texts, those are attacked that are classified correctly, up to a limit.
    """
    import torch

    key = computed.key_of(model, data)
    said = cached.probabilities(model, data, key)[:SHOWN]
    shown = data.take(range(min(SHOWN, len(data))))
    points = Points(data=shown, probabilities=said)
    wanted = points.right.nonzero().flatten()[:_MOST_TEXTS] if model.task == "text" else torch.arange(len(shown))
    if attack is None or not len(wanted):
        return points
    try:
        x, after = computed.attacked_rows(model, data, wanted.tolist(), attack.spec, attack.norm, attack.eps, key)
    except UnsupportedError as error:
        st.caption(plain(f"No attack: {first_line(error)}"))
        return points
    return replace(points, places=wanted[: len(x)], attacked=x, after=after)


def edits_of(model: Classifier, points: Points) -> dict[int, str]:
    """What the attack changed in each text that it fooled, by position: ``fine → dull, ...``."""
    if model.task != "text" or points.places is None or points.attacked is None:
        return {}
    from xaibench.types import model_inputs

    found = {}
    before = model.tokens(model_inputs(model, points.data.take(points.places).inputs))
    for place, old, new in zip(points.places.tolist(), before, model.tokens(points.attacked), strict=True):
        if bool(points.fooled[place]):
            pairs = exchanged(old, new)
            told = [f"{out or 'nothing'} → {put or 'nothing'}" for out, put in pairs[:_MOST_EDITS]]
            found[place] = "; ".join(told) + (f"; {len(pairs) - len(told)} more" if len(pairs) > len(told) else "")
    return found
