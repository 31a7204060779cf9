"""The checks of attributions that explain again: under noise, and for a model with random weights."""

from __future__ import annotations

import dataclasses
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError, first_line
from xaibench.explainers.attribution import Attribution
from xaibench.metrics.agreement import rank_correlation, varied
from xaibench.rng import SampleRng, content_ids, derive_seed
from xaibench.types import Capability, Classifier, Inputs, model_inputs

__all__ = ["FEWEST", "NOISE", "examine", "nudged", "random_copy"]

NOISE = 0.02
"""Standard deviation of the noise, as a share of each feature's range."""
FEWEST = {"stability": 3, "randomisation": 5}
"""A rank correlation of fewer values says little."""
_COPIES, _MOST_COPIES, _VALUES = 2, 8, 40
"""Copies with random weights that count for a sample, at least and at most: together they rank `_VALUES` values.

Few values agree by chance: of ten, unrelated ones have a rank correlation above 0.6 seven times in a hundred.
"""

_copies: WeakKeyDictionary[Classifier, tuple[tuple[str, int], dict[int, Classifier]]] = WeakKeyDictionary()


def examine(found: Attribution, explainer: Any, model: Classifier, inputs: Inputs) -> Attribution:
    """``found`` with the figures of all checks in its trust; they explain the same targets three times more.

    Stability is the rank correlation (n,) with the attributions after `nudged`; randomisation the mean of the absolute
    ones with those of copies with random weights (`Classifier.randomised`; Adebayo et al., *Sanity checks for saliency
    maps*, NeurIPS 2018): of two copies, and of up to eight where there are fewer than 20 values. A copy whose map is
    the same everywhere has nothing to rank, and is replaced by the next. Padding of texts does not count. A check that
    cannot be made is named among the untested ones; a model that answers otherwise the second time, or in other
    company, is a caveat.
    """
    text = model.task == "text"
    x = model_inputs(model, inputs).to(model.device) if text else model.embed(inputs).detach()  # type: ignore[arg-type]
    where = torch.ones_like(x, dtype=torch.bool) if found.worded is None else found.worded
    figures: dict[str, Tensor] = {}
    untested = dict(found.trust.untested)

    def stability() -> Tensor:
        changed, same = nudged(x, model, seed=found.seed, where=where)
        again = explainer(model, changed, found.target, seed=found.seed)
        kept = where & same
        ranked = varied(found.values, where) & (kept.flatten(1).sum(dim=1) >= FEWEST["stability"])
        return rank_correlation(found.values, again.values, kept).masked_fill(~ranked, torch.nan).float()

    def randomisation() -> Tensor:
        counted = where.flatten(1).sum(dim=1)
        wanted = (_VALUES / counted.clamp_min(1)).ceil().clamp(_COPIES, _MOST_COPIES)
        ranked = varied(found.values, where) & (counted >= FEWEST["randomisation"])
        total, copies = torch.zeros_like(wanted, dtype=torch.float64), torch.zeros_like(wanted)
        for index in range(_MOST_COPIES):
            if not bool((ranked & (copies < wanted)).any()):
                break
            again = explainer(random_copy(model, found.seed, index), x, found.target, seed=found.seed).values
            counts = ranked & (copies < wanted) & varied(again, where)
            total += rank_correlation(found.values, again, where).abs() * counts
            copies += counts
        return (total / copies).float()  # NaN where no copy counts

    for name, check in {"stability": stability, "randomisation": randomisation}.items():
        try:
            figures[name] = check()
        except InputError as error:
            untested[name] = first_line(error)
    trust = dataclasses.replace(
        found.trust,
        **figures,  # type: ignore[arg-type]
        untested=untested,
        caveats=(*found.trust.caveats, *_unsteady(model)),
        notes=(*found.trust.notes, *_outside(model, x)),
    )
    return dataclasses.replace(found, trust=trust)


def random_copy(model: Classifier, seed: int, index: int = 0) -> Classifier:
    """`Classifier.randomised`, the same copies for every explainer, for what is traced of them is costly.

    Those of the latest seed are kept for as long as the model lives and stays as it is.
    """
    key = (model.digest, seed)
    kept = _copies.get(model)
    if kept is None or kept[0] != key:
        kept = _copies[model] = (key, {})
    if index not in kept[1]:
        kept[1][index] = model.randomised(derive_seed(seed, "copy", index) if index else seed)
    return kept[1][index]


def nudged(x: Tensor, model: Classifier, *, seed: int = 0, where: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Inputs like ``x`` (n, ...), and where they stand for the same parts of the input, (n, ...) bool.

    Numbers take normal noise of `NOISE` times their range, within the bounds. In each text one word, among those at
    ``where`` (n, length), gives way to another of the vocabulary, and that place is not the same any more. Raises
    `UnsupportedError` for text whose words cannot be told, and for numbers without finite bounds.
    """
    rng = SampleRng(content_ids(x), seed, "nudge")
    if model.task != "text":
        low, high = model.bounds.tensors(x)
        if not bool((high - low).isfinite().all()):
            raise UnsupportedError("noise as a share of the range of inputs needs finite bounds")
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


def _outside(model: Classifier, x: Tensor) -> tuple[str, ...]:
    if model.task == "text":
        return ()
    count = int((model.bounds.clip(x) != x).flatten(1).any(dim=1).sum())
    return (f"{count} of {len(x)} inputs lie outside the bounds of the model",) if count else ()


def _unsteady(model: Classifier) -> tuple[str, ...]:
    reason = model.limits.get(Capability.DETERMINISTIC)
    return () if reason is None else (reason,)
