"""What the pages compute, each thing once: keyed by what it was computed from.

Of a model that is its `identity`, of data its digest, of an input its `fingerprint`, of a method its spec.
"""

from __future__ import annotations

import hashlib
import io
import threading
from typing import TYPE_CHECKING

import streamlit as st

from xaibench.pages.shared.uploads import FittedImage, read_image

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.card import Card
    from xaibench.counterfactuals import CounterfactualResult
    from xaibench.data import Data
    from xaibench.examples import Neighbours
    from xaibench.explainers import Attribution
    from xaibench.types import Classifier

__all__ = [
    "SHOWN",
    "alike",
    "boundary_distances",
    "card",
    "changed",
    "classifier",
    "explained",
    "fingerprint",
    "identity",
    "one_at_a_time",
    "picture",
    "probabilities",
    "rows",
    "said",
    "samples",
    "subject_rows",
    "thumbnail",
]

SHOWN = 500
"""How many rows of a data set can be chosen from."""

_BATCH = 100
"""Rows that are classified while other sessions wait for a model."""

_SECONDS = 60.0
"""As long a reader waits for one explanation or counterfactual, and other sessions for the model: the slowest at its
usual settings takes half of it on two cores."""

one_at_a_time = threading.RLock()
"""Sessions share a model, which stands still for one analysis at a time."""


def card(name: str) -> Card:
    """What is known about a model, read anew each time: it is small, and tells when the weights have changed."""
    from xaibench.card import Card
    from xaibench.zoo import find_model

    return Card.read(find_model(name) / "config.json")


def classifier(name: str) -> Classifier:
    """A model by name; any change of its description, in which the digest of its weights stands, loads it again."""
    return _classifier(name, _digest(card(name).model_dump_json()))


@st.cache_resource(show_spinner="Loading the model", max_entries=4)
def _classifier(name: str, description: str) -> Classifier:
    from xaibench.zoo import find_model, load_model

    return load_model(find_model(name))


def identity(model: Classifier) -> str:
    """A digest of all that is known of a model: what it computes, the names of its classes, and its description."""
    known = "" if model.card is None else model.card.model_dump_json()
    return _digest("\n".join((model.digest, *model.class_names, known)))


@st.cache_resource(show_spinner="Loading the data", max_entries=4)
def rows(name: str, split: str) -> Data:
    """The rows to choose from: `SHOWN` of a split, drawn by seed 0 as a report draws its own; all of a smaller one."""
    from xaibench.data import TooFewRowsError, load_data

    try:
        return load_data(name, split, n=SHOWN, seed=0)
    except TooFewRowsError:
        return load_data(name, split)


def subject_rows(name: str) -> tuple[Classifier, Data]:
    """A model by name, and the rows of its own data."""
    model, known = classifier(name), card(name).data
    return model, samples(model, known.name, known.test_split, identity(model))


@st.cache_resource(show_spinner="Loading the samples", max_entries=8)
def samples(_model: Classifier, name: str, split: str, key: str, asked: int | None = None) -> Data:
    """The rows to choose from, with classes and columns in the model's order; ``key`` is the model's identity.

    ``asked`` joins them: a row of the split that a link names, in case it is none of them.
    """
    from xaibench.data import load_data
    from xaibench.evaluate import align

    data = rows(name, split)
    if asked is not None and asked not in data.ids:
        whole = load_data(name, split)
        data = whole.take([*data.ids.tolist(), asked]) if asked < len(whole) else data
    return align(_model, data)


@st.cache_data(show_spinner="Classifying the samples", max_entries=16)
def probabilities(_model: Classifier, _data: Data, key: tuple[str, str]) -> Tensor:
    """Probabilities (n, classes) of the rows; ``key`` is the model's identity and the digest of the data."""
    import torch

    found = []
    for start in range(0, len(_data), _BATCH):
        with one_at_a_time, torch.no_grad():
            found.append(_model.logits(_data.inputs[start : start + _BATCH]).cpu())
    return torch.cat(found).double().softmax(dim=1)  # in float what is all but sure would be sure


@st.cache_data(show_spinner=False, max_entries=4096)
def thumbnail(_data: Data, place: int, key: tuple[str, int]) -> str:
    """A row's picture as a data URI; ``key`` is the data's digest and the place."""
    from xaibench.drawing.pictures import photo

    return photo(_data.inputs[place])  # type: ignore[arg-type]


@st.cache_data(show_spinner="Reading the picture", max_entries=8)
def picture(content: bytes, shape: tuple[int, ...]) -> FittedImage:
    """An uploaded file's picture as a model of this input shape takes it."""
    return read_image(io.BytesIO(content), shape)


@st.cache_data(show_spinner="Measuring how near the samples are to the decision boundary", max_entries=16)
def boundary_distances(_model: Classifier, _data: Data, key: tuple[str, str]) -> Tensor:
    """First-order distances (n,) of the rows to the decision boundary; ``key`` as of `probabilities`.

    The linear estimate of Moosavi-Dezfooli et al., *DeepFool* (CVPR 2016): the margin between the two highest logits
    over the dual norm of its gradient. In Linf, for tables in shares of each feature's range; for text in L2 of the
    embeddings. A model without gradients gives the margin itself.
    """
    import torch

    from xaibench.threats import feature_scale
    from xaibench.types import Capability, model_inputs

    found = []
    for start in range(0, len(_data), _BATCH):
        with one_at_a_time, torch.no_grad():
            x = model_inputs(_model, _data.inputs[start : start + _BATCH])
            logits = _model.logits(x)
        top = logits.topk(2, dim=1)
        if Capability.GRADIENTS not in _model.capabilities:
            found.append((top.values[:, 0] - top.values[:, 1]).cpu())
            continue
        with one_at_a_time:
            steep = _model.loss_gradient(x, top.indices[:, 0], "margin")
        gradient = steep.gradient
        if _model.task == "tabular":
            gradient = gradient * gradient.new_tensor(feature_scale(_model.task, _model.bounds))
        slope = gradient.flatten(1).norm(p=2 if _model.task == "text" else 1, dim=1)
        found.append((-steep.loss / slope.clamp_min(1e-12)).detach().cpu())
    return torch.cat(found)


@st.cache_data(show_spinner=False, max_entries=2048)
def said(_model: Classifier, _x: Tensor, key: tuple[str, str]) -> Tensor:
    """Probabilities (classes,) of one input (1, ...); ``key`` is the model's identity and the input's fingerprint."""
    import torch

    with one_at_a_time, torch.no_grad():
        return _model.logits(_x)[0].cpu().double().softmax(dim=0)


@st.cache_data(show_spinner="Explaining", max_entries=512)
def explained(
    _model: Classifier, _x: Tensor, target: int, spec: str, key: tuple[str, str], *, checked: bool = False
) -> Attribution:
    """An explanation of class ``target`` at one input (1, ...); ``key`` as of `said`.

    ``checked`` makes the checks too that explain again: under noise, and for random weights. After `_SECONDS` it is
    given up.
    """
    import torch

    from xaibench.explainers import explain
    from xaibench.patience import patience

    with one_at_a_time, patience(_SECONDS):
        return explain(_model, _x, torch.tensor([target]), method=spec, trust="full" if checked else "quick")


@st.cache_data(show_spinner="Looking for a small change that alters the prediction", max_entries=128)
def changed(_model: Classifier, _x: Tensor, goal: int | None, key: tuple[str, str]) -> CounterfactualResult:
    """The smallest change found of one input (1, ...) with which the model says ``goal``, or else anything else.

    After `_SECONDS` it is given up.
    """
    from xaibench.counterfactuals import counterfactual
    from xaibench.patience import patience

    with one_at_a_time, patience(_SECONDS):
        return counterfactual(_model, _x, goal)


@st.cache_data(show_spinner="Comparing with the training samples", max_entries=128)
def alike(_model: Classifier, _x: Tensor, _data: Data, k: int, key: tuple[str, str, str]) -> Neighbours:
    """The ``k`` rows nearest to one input (1, ...); ``key`` as of `said`, and the data's digest."""
    from xaibench.examples import nearest_neighbours

    with one_at_a_time:
        return nearest_neighbours(_model, _x, _data, k=k)


def fingerprint(x: Tensor) -> str:
    """A digest of one input."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
