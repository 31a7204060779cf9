"""What the pages compute, each thing once: keyed by the digest of the model, the input and the method's spec."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from torch import Tensor

    from xaibench.card import Card
    from xaibench.data import Data
    from xaibench.explainers import Attribution
    from xaibench.types import Classifier

__all__ = ["SHOWN", "attacked", "card", "classifier", "explained", "fingerprint", "probabilities", "rows", "said"]

SHOWN = 500
"""How many rows of a data set can be chosen from."""

_ONE_AT_A_TIME = threading.RLock()
"""Sessions share a model, which stands still for one analysis at a time."""


def card(name: str) -> Card:
    """What is known about a model, read anew each time: it is small, and tells when the weights have changed."""
    from xaibench.card import Card
    from xaibench.zoo import find_model

    return Card.read(find_model(name) / "config.json")


@st.cache_resource(show_spinner="Loading the model", max_entries=4)
def classifier(name: str, digest: str) -> Classifier:
    """A model by name; another ``digest`` of its weights loads it again."""
    from xaibench.zoo import load_model

    return load_model(name)


@st.cache_data(show_spinner="Loading the data", max_entries=4)
def rows(name: str, split: str) -> Data:
    """The rows to choose from: `SHOWN` of a split, drawn by seed 0 as a report draws its own; all of a smaller one."""
    from xaibench.data import TooFewRowsError, load_data

    try:
        return load_data(name, split, n=SHOWN, seed=0)
    except TooFewRowsError:
        return load_data(name, split)


@st.cache_data(show_spinner="Classifying the samples", max_entries=16)
def probabilities(_model: Classifier, _data: Data, key: tuple[str, str]) -> Tensor:
    """Probabilities (n, classes) of the rows; ``key`` is the digests of model and data."""
    import torch

    with _ONE_AT_A_TIME, torch.no_grad():
        batches = [_data.inputs[start : start + 100] for start in range(0, len(_data), 100)]
        return torch.cat([_model.logits(batch).cpu() for batch in batches]).softmax(dim=1)


@st.cache_data(show_spinner=False, max_entries=2048)
def said(_model: Classifier, _x: Tensor, key: tuple[str, str]) -> Tensor:
    """Probabilities (classes,) of one input (1, ...); ``key`` is the digests of model and input."""
    import torch

    with _ONE_AT_A_TIME, torch.no_grad():
        return _model.logits(_x)[0].softmax(dim=0).cpu()


@st.cache_data(show_spinner="Explaining", max_entries=512)
def explained(_model: Classifier, _x: Tensor, target: int, spec: str, key: tuple[str, str]) -> Attribution:
    """An explanation of class ``target`` at one input (1, ...); ``key`` is the digests of model and input."""
    import torch

    from xaibench.explainers import explain
    from xaibench.registry import Spec

    method = Spec.parse(spec)
    with _ONE_AT_A_TIME:
        return explain(_model, _x, torch.tensor([target]), method=method.name, trust="quick", **method.params)


@st.cache_data(show_spinner="Attacking", max_entries=512)
def attacked(
    _model: Classifier, _x: Tensor, label: int, spec: str, eps: float, row: int, key: tuple[str, str]
) -> Tensor:
    """One input (1, ...) after an attack on class ``label`` in Linf; the input itself where the attack fails."""
    import torch

    from xaibench.attacks import attacks
    from xaibench.threats import feature_scale, threat

    ball = threat("linf", eps, feature_scale(_model.task, _model.bounds))
    with _ONE_AT_A_TIME:
        return attacks.create(spec)(_model, _x, torch.tensor([label]), ball, ids=torch.tensor([row]))


def fingerprint(x: Tensor) -> str:
    """A digest of one input."""
    return hashlib.sha256(x.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
