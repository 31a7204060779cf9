"""One sample: what a model says about it, why, and what it takes to change its mind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import UnsupportedError
from xaibench.pages.shared import cached
from xaibench.pages.shared.charts import percent
from xaibench.pages.shared.text import plain

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.explainers import Attribution
    from xaibench.pages.shared.choices import Choices
    from xaibench.pages.shared.subject import Subject
    from xaibench.types import Classifier

__all__ = ["View", "show"]


@dataclass(frozen=True, kw_only=True)
class View:
    """One side of the comparison: an input (1, ...), probabilities (classes,), and an explanation per method.

    ``refused`` says of the other methods why they cannot explain this model.
    """

    x: Tensor
    probabilities: Tensor
    explanations: dict[str, Attribution]
    refused: dict[str, str]

    @property
    def prediction(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())


def show() -> None:
    """The page: choices at the side, the sample before and after the attack in the middle."""
    st.header("Why did it say that, and how easily is it fooled?")
    from xaibench.pages.shared.choices import choose_method
    from xaibench.pages.shared.subject import choose_subject

    subject = choose_subject()
    if subject is None:
        return
    model = subject.model
    if model.card and model.card.summary:
        st.caption(plain(model.card.summary))
    choices = choose_method(model)
    clean = _view(model, subject.x, choices)
    broken = _attacked_view(subject, choices)
    _say(model, subject.label, clean, broken, choices)
    _body(model, subject.data, clean, broken, choices)


def _attacked_view(subject: Subject, choices: Choices) -> View | None:
    """The sample after the attack; None where there is none, or it changes nothing."""
    if choices.attack is None or choices.eps == 0:
        return None
    attack = str(choices.attack)
    x = cached.attacked(
        subject.model, subject.x, subject.prediction, attack, choices.eps, subject.sample_id, subject.key
    )
    after = _view(subject.model, x, choices)
    return after if after.prediction != subject.prediction else None


def _view(model: Classifier, x: Tensor, choices: Choices) -> View:
    import torch

    with torch.no_grad():
        probabilities = model.logits(x)[0].softmax(dim=0).cpu()
    key = (model.digest, cached.fingerprint(x))
    explanations, refused = {}, {}
    for name in choices.explainers:
        try:
            explanations[name] = cached.explained(model, x, int(probabilities.argmax()), name, key)
        except UnsupportedError as error:
            refused[name] = str(error)
    return View(x=x, probabilities=probabilities, explanations=explanations, refused=refused)


def _say(model: Classifier, label: int | None, clean: View, broken: View | None, choices: Choices) -> None:
    """The findings in a sentence or two."""
    names = model.class_names
    verdict = ""
    if label is not None:
        right = clean.prediction == label
        verdict = ", which is right" if right else f", and is wrong: it is **{plain(names[label])}**"
    st.markdown(f"#### It says **{plain(names[clean.prediction])}** with {_confidence(clean)}{verdict}.")
    if model.task == "text":
        st.markdown("How easily texts are fooled, by a few edited words, stands in their reports: `xaibench report`.")
    elif broken is not None:
        now = plain(names[broken.prediction])
        st.markdown(f"A change of at most {choices.reach} makes it say **{now}** with {_confidence(broken)}.")
    elif choices.eps > 0:
        st.markdown(f"{choices.attack_label} finds no change of at most {choices.reach} that alters what it says.")
    else:
        st.markdown("Raise epsilon at the side to see what a small change does.")


def _confidence(view: View) -> str:
    return percent(float(view.probabilities.max()))


def _body(model: Classifier, data: Data, clean: View, broken: View | None, choices: Choices) -> None:
    from xaibench.pages.explain.views import show_image, show_table, show_text

    if model.task == "image":
        show_image(model, clean, broken)
    elif model.task == "text":
        show_text(model, clean)
    else:
        show_table(model, data, clean, broken)
    for reason in clean.refused.values():
        st.caption(plain(f"Left out: {reason}"))
