"""The checks of attributions that explain again: under noise, and for a model with random weights."""

from __future__ import annotations

import dataclasses
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError, first_line
from xaibench.explainers.attribution import Attribution
from xaibench.metrics.agreement import rank_correlation
from xaibench.rng import SampleRng, content_ids
from xaibench.types import Classifier, Inputs

__all__ = ["FEWEST", "NOISE", "examine", "nudged", "random_copy"]

NOISE = 0.02
"""Standard deviation of the noise, as a share of each feature's range."""
FEWEST = {"stability": 3, "randomisation": 10}
"""A rank correlation of fewer values says little: that with a map of no kinship is often above 0.6 by chance alone."""

_copies: WeakKeyDictionary[Classifier, tuple[tuple[str, int], Classifier]] = WeakKeyDictionary()


def examine(found: Attribution, explainer: Any, model: Classifier, inputs: Inputs) -> Attribution:
    """``found`` with the figures of all checks in its trust; they explain the same targets twice more.

    Stability is the rank correlation (n,) with the attributions after `nudged`; randomisation the absolute one with
    those of a copy with random weights (`Classifier.randomised`; Adebayo et al., *Sanity checks for saliency maps*,
    NeurIPS 2018). Padding of texts does not count. A check that cannot be made is named among the untested ones.
    """
    if model.task == "text":
        x = (inputs if isinstance(inputs, Tensor) else model.encode(inputs)).to(model.device)
    else:
        x = model.embed(inputs).detach()  # type: ignore[arg-type]
    where = torch.ones_like(x, dtype=torch.bool)
    if found.words is not None:
        where = torch.tensor([[word != "" for word in row] for row in found.words], device=x.device)
    figures: dict[str, Tensor] = {}
    untested = dict(found.trust.untested)

    def stability() -> Tensor:
        changed, same = nudged(x, model, seed=found.seed, where=where)
        again = explainer(model, changed, found.target, seed=found.seed)
        return _correlation(found.values, again.values, where & same, FEWEST["stability"])

    def randomisation() -> Tensor:
        again = explainer(random_copy(model, found.seed), x, found.target, seed=found.seed)
        return _correlation(found.values, again.values, where, FEWEST["randomisation"]).abs()

    for name, check in {"stability": stability, "randomisation": randomisation}.items():
        try:
            figures[name] = check()
        except InputError as error:
            untested[name] = first_line(error)
    return dataclasses.replace(found, trust=dataclasses.replace(found.trust, **figures, untested=untested))  # type: ignore[arg-type]


def random_copy(model: Classifier, seed: int) -> Classifier:
    """`Classifier.randomised`, the same copy for every explainer, for what is traced of it is costly.

    The latest copy is kept for as long as the model lives and stays as it is.
    """
    key = (model.digest, seed)
    kept = _copies.get(model)
    if kept is None or kept[0] != key:
        kept = _copies[model] = (key, model.randomised(seed))
    return kept[1]


def nudged(x: Tensor, model: Classifier, *, seed: int = 0, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Inputs like ``x`` (n, ...), and where they stand for the same parts of the input, (n, ...) bool.

    Numbers take normal noise of `NOISE` times their range, within the bounds. In each text one word, among those at
    ``where`` (n, length), gives way to another of the vocabulary, and that place is not the same any more. Raises
    `UnsupportedError` for text whose words cannot be told.
    """
    rng = SampleRng(content_ids(x), seed, "nudge")
    if model.task != "text":
        low, high = model.bounds.tensors(x)
        noise = rng.normal(tuple(x.shape[1:])).to(x.dtype) * (NOISE * (high - low))
        return model.bounds.clip(x + noise), torch.ones_like(x, dtype=torch.bool)
    vocabulary = model.vocabulary
    words = [i for i, word in enumerate(vocabulary.words) if word and i not in vocabulary.special]
    if len(words) < 2:
        raise UnsupportedError(f"replacing a word needs a vocabulary of two words or more, got {len(words)}")
    ordinary = torch.tensor(words, device=x.device)
    fit = torch.isin(x, ordinary) if where is None else torch.isin(x, ordinary) & where
    place = (rng.uniform((x.shape[1],)) * fit).argmax(dim=1, keepdim=True)
    chosen = torch.zeros_like(fit).scatter(1, place, True) & fit
    draw = (rng.uniform((1,), step=1) * len(ordinary)).long()
    draw = (draw + (ordinary[draw] == x.gather(1, place))) % len(ordinary)
    return torch.where(chosen, ordinary[draw], x), ~chosen


def _correlation(one: Tensor, other: Tensor, where: Tensor, fewest: int) -> Tensor:
    """Rank correlation (n,), float32; NaN where fewer than ``fewest`` values are left to compare."""
    found = rank_correlation(one, other, where)
    return torch.where(where.flatten(1).sum(dim=1) >= fewest, found, torch.nan).float()
