"""One sample: what a model says about it, why, and what it takes to change its mind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.errors import InputError, UnsupportedError
from xaibench.pages import cached
from xaibench.pages.charts import percent

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.data import Data
    from xaibench.explainers import Attribution
    from xaibench.pages.choices import Choices
    from xaibench.types import Classifier

__all__ = ["View", "sample_page"]


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


def sample_page() -> None:
    """The page: choices at the side, the sample before and after the attack in the middle."""
    st.header("Why did it say that, and how easily is it fooled?")
    try:
        _show()
    except InputError as error:
        st.error(str(error))


def _show() -> None:
    from xaibench.pages.choices import choose_method, choose_model, choose_sample

    name = choose_model()
    if name is None:
        return
    card = cached.card(name)
    if card.summary:
        st.caption(card.summary)
    model = cached.classifier(name, card.weights_digest)
    data = cached.rows(card.data.name, card.data.test_split)
    said = cached.probabilities(model, data, (model.digest, data.digest))
    position = choose_sample(data, said.argmax(dim=1))
    if position is None:
        return
    choices = choose_method(model)
    clean = _clean_view(model, data, position, choices)
    broken = _attacked_view(model, int(data.ids[position]), clean, choices)
    _say(model, int(data.labels[position]), clean, broken, choices)
    _body(model, data, clean, broken, choices)


def _clean_view(model: Classifier, data: Data, position: int, choices: Choices) -> View:
    inputs = data.inputs[position : position + 1]
    return _view(model, model.encode(inputs) if model.task == "text" else inputs, choices)  # type: ignore[arg-type]


def _attacked_view(model: Classifier, row: int, clean: View, choices: Choices) -> View | None:
    """The sample after the attack; None where there is none, or it changes nothing."""
    if choices.attack is None or choices.eps == 0:
        return None
    key = (model.digest, cached.fingerprint(clean.x))
    x = cached.attacked(model, clean.x, clean.prediction, str(choices.attack), choices.eps, row, key)
    after = _view(model, x, choices)
    return after if after.prediction != clean.prediction else None


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


def _say(model: Classifier, label: int, clean: View, broken: View | None, choices: Choices) -> None:
    """The findings in a sentence or two."""
    names = model.class_names
    verdict = "which is right" if clean.prediction == label else f"and is wrong: it is **{_plain(names[label])}**"
    st.markdown(f"#### It says **{_plain(names[clean.prediction])}** with {_confidence(clean)}, {verdict}.")
    if model.task == "text":
        st.markdown("How easily texts are fooled, by a few edited words, stands in their reports: `xaibench report`.")
    elif broken is not None:
        now = _plain(names[broken.prediction])
        st.markdown(f"A change of at most {choices.reach} makes it say **{now}** with {_confidence(broken)}.")
    elif choices.eps > 0:
        st.markdown(f"{choices.attack_label} finds no change of at most {choices.reach} that alters what it says.")
    else:
        st.markdown("Raise epsilon at the side to see what a small change does.")


def _confidence(view: View) -> str:
    return percent(float(view.probabilities.max()))


def _body(model: Classifier, data: Data, clean: View, broken: View | None, choices: Choices) -> None:
    from xaibench.pages.views import show_image, show_table, show_text

    if model.task == "image":
        show_image(model, clean, broken)
    elif model.task == "text":
        show_text(model, clean)
    else:
        show_table(model, data, clean, broken)
    for reason in clean.refused.values():
        st.caption(_plain(f"Left out: {reason}"))


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{mark}" if mark in r"\`*_{}[]()<>#+-.!|$~:" else mark for mark in text)
