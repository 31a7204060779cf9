"""How much worse a model of a table becomes when a feature says nothing any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.explainers.budget import points_at_once
from xaibench.overview.importance import GlobalImportance, flat_names
from xaibench.rng import permutation
from xaibench.types import Classifier

__all__ = ["permutation_importance"]


def permutation_importance(
    model: Classifier,
    data: Data,
    *,
    score: Literal["accuracy", "loss"] = "accuracy",
    repeats: int = 20,
    groups: Mapping[str, Sequence[int]] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> GlobalImportance:
    """The accuracy lost, or the cross-entropy gained, when a feature's values are dealt out among the samples anew.

    Breiman, *Random forests* (Machine Learning 2001); for any model, Fisher et al., *All models are wrong, but many are
    useful* (JMLR 2019). The mean of ``repeats`` permutations, each the same for every feature, with the t-interval of
    that mean: it covers the chance of the permutations, not that of the samples. Features that say the same thing share
    no blame: permuting one alone costs little; ``groups`` (names to feature indices) are permuted together, and all
    features that are in no group go alone. Permuted rows may be ones that never occur.

    Raises `InputError` for data that is no table, fewer than two rows or repeats, and groups that do not fit.

    >>> from xaibench import load_data, load_model
    >>> rows = load_data("breast-cancer", "test")
    >>> found = permutation_importance(load_model("cancer-mlp"), rows, score="loss", repeats=3)
    >>> found.mean.shape, float(found.mean.max()) > 0.02
    (torch.Size([30]), True)
    """
    if data.task != "tabular" or model.task != "tabular" or not isinstance(data.inputs, Tensor):
        raise InputError(f"expected a table for permutation importance, got {data.task} data and a {model.task} model")
    if len(data) < 2 or repeats < 2:
        raise InputError(f"expected at least 2 rows and 2 `repeats`, got {len(data)} and {repeats}")
    if score not in ("accuracy", "loss"):
        raise InputError(f"expected score 'accuracy' or 'loss', got {score!r}")
    if not 0 < confidence < 1:
        raise InputError(f"expected `confidence` between 0 and 1, got {confidence}")
    x, y = data.inputs.to(model.device), data.labels.to(model.device)
    columns = _columns(flat_names(x.shape[1:], data.feature_names), groups or {})
    clean = _costs(model, x, y, score)
    size = points_at_once(model, x, backward=False)
    lost = torch.zeros(repeats, len(columns), dtype=torch.float64)
    for repeat in range(repeats):
        order = permutation(len(x), seed, "permutation importance", repeat).to(x.device)
        for place, members in enumerate(columns.values()):
            shuffled = x.clone()
            shuffled[:, members] = x[order][:, members]
            lost[repeat, place] = (_costs(model, shuffled, y, score, size) - clean).mean()
    mean, half = lost.mean(dim=0), _student(confidence, repeats - 1) * lost.std(dim=0) / repeats**0.5
    return GlobalImportance(
        names=tuple(columns),
        mean=mean,
        low=mean - half,
        high=mean + half,
        by_class=None,
        count=torch.full((len(columns),), repeats),
        measure="lost accuracy" if score == "accuracy" else "gained cross-entropy",
        confidence=confidence,
    )


def _columns(names: Sequence[str], groups: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    taken = [index for members in groups.values() for index in members]
    if len(set(taken)) < len(taken) or any(not 0 <= index < len(names) for index in taken):
        raise InputError(f"expected groups of different features in 0..{len(names) - 1}, got {taken}")
    alone = {name: [index] for index, name in enumerate(names) if index not in taken}
    return {**alone, **{name: list(members) for name, members in groups.items() if members}}


def _costs(model: Classifier, x: Tensor, y: Tensor, score: str, size: int | None = None) -> Tensor:
    """What each sample (n,) costs, float64: 1 for a wrong answer, or the cross-entropy."""
    parts = x.split(size or points_at_once(model, x, backward=False))
    with torch.no_grad():
        logits = torch.cat([model.logits(part) for part in parts]).double()
    if score == "accuracy":
        return (logits.argmax(dim=1) != y).double()
    return F.cross_entropy(logits, y, reduction="none")


def _student(confidence: float, freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, freedom))
