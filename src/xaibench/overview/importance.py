"""What matters over many samples: mean absolute attributions by feature and by class, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.counterfactuals.result import default_names
from xaibench.drawing.labels import method_label
from xaibench.errors import InputError
from xaibench.explainers import Attribution
from xaibench.metrics.intervals import bootstrap_means
from xaibench.rng import check_seed

__all__ = ["GlobalImportance", "flat_names", "global_importance", "word_table"]

_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class GlobalImportance:
    """The importance of d features over n samples, features in their own order."""

    names: tuple[str, ...]
    """(d,): features by name, pixels by place, or words."""
    mean: Tensor
    """(d,), float64."""
    low: Tensor
    """(d,), float64: lower ends of the intervals."""
    high: Tensor
    """(d,), float64: upper ends."""
    by_class: Tensor | None
    """(classes, d), float64: means over the samples of each explained class; NaN for one without samples. None where
    importance is not split by class."""
    count: Tensor
    """(d,), int64: how many samples (or repeats) stand behind each mean."""
    measure: str
    """What the numbers are, in words."""
    confidence: float

    def top(self, k: int = 10) -> Tensor:
        """(k,), int64: the features of the largest means, largest first; all of them where there are fewer."""
        return self.mean.argsort(descending=True, stable=True)[:k]


def global_importance(
    attribution: Attribution,
    *,
    names: Sequence[str] | None = None,
    classes: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> GlobalImportance:
    """The mean absolute attribution of each feature over the samples, and over those of each explained class.

    Lundberg et al., *From local explanations to global understanding with explainable AI for trees* (Nature Machine
    Intelligence 2020). Intervals are percentiles of 1,000 bootstrap resamples of the samples: they say how much the
    mean depends on the choice of samples, not whether the attributions are right. For text the features are words: a
    text's value of a word is the sum of the absolute values of its occurrences, and the mean goes over the texts in
    which it occurs. The interval of a feature that occurs in one sample is not known: its ends are NaN.

    ``names`` (d,) are those of features, flat; ``classes`` is how many rows ``by_class`` has, by default as many as the
    largest target needs. Raises `InputError` for names that do not fit, or a confidence outside (0, 1).

    >>> from xaibench import explain, load_data, load_model
    >>> rows = load_data("breast-cancer", "test", n=40)
    >>> found = explain(load_model("cancer-mlp"), rows.inputs, method="input_x_gradient", trust="quick")
    >>> overall = global_importance(found, names=rows.feature_names)
    >>> overall.mean.shape, bool((overall.low <= overall.mean).all() and (overall.mean <= overall.high).all())
    (torch.Size([30]), True)
    """
    if not 0 < confidence < 1:
        raise InputError(f"expected `confidence` between 0 and 1, got {confidence}")
    check_seed(seed)
    if not isinstance(attribution, Attribution):
        raise InputError(f"expected an Attribution, as `explain` gives, got {type(attribution).__name__}")
    if not len(attribution.values):
        raise InputError("expected attributions of at least one sample, got none")
    if attribution.words is not None:
        if names is not None:
            raise InputError("expected no names for text, whose words name themselves, got some")
        labels, values = word_table(attribution)
    else:
        values = attribution.values.detach().flatten(1).abs().double().cpu()
        labels = flat_names(attribution.values.shape[1:], names)
    target = attribution.target.cpu()
    rows = int(target.max()) + 1 if classes is None else classes
    if rows <= int(target.max()):
        raise InputError(f"expected `classes` above the largest target, {int(target.max())}, got {rows}")
    low, high = _intervals(values, confidence, seed)
    return GlobalImportance(
        names=labels,
        mean=values.nanmean(dim=0),
        low=low,
        high=high,
        by_class=torch.stack([values[target == index].nanmean(dim=0) for index in range(rows)]),
        count=(~values.isnan()).sum(dim=0),
        measure=f"mean absolute attribution by {method_label(attribution.method)}",
        confidence=confidence,
    )


def flat_names(shape: Sequence[int], names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the flat features of inputs of this shape (without the batch)."""
    known = default_names(torch.Size(shape))
    if names is None:
        return known
    if len(names) != len(known):
        raise InputError(f"expected {len(known)} feature names, got {len(names)}")
    return tuple(names)


def word_table(attribution: Attribution) -> tuple[tuple[str, ...], Tensor]:
    """The words of all texts, and the summed absolute value of each in each text (n, words), NaN where it is not."""
    assert attribution.words is not None
    sizes = attribution.values.detach().abs().double().cpu()
    known = sorted({word for row in attribution.words for word in row if word})
    if not known:
        raise InputError("expected texts with words, got padding alone")
    place = {word: index for index, word in enumerate(known)}
    values = torch.full((len(sizes), len(known)), torch.nan, dtype=torch.float64)
    for i, row in enumerate(attribution.words):
        kept = [j for j, word in enumerate(row) if word]
        columns = torch.tensor([place[row[j]] for j in kept], dtype=torch.int64)
        values[i, columns] = 0
        values[i].index_add_(0, columns, sizes[i, kept])
    return tuple(known), values


def _intervals(values: Tensor, confidence: float, seed: int) -> tuple[Tensor, Tensor]:
    """Percentile intervals (d,) of the means of values (n, d); NaN where fewer than two samples are known."""
    tail = torch.tensor([(1 - confidence) / 2, (1 + confidence) / 2], dtype=torch.float64)
    parts = values.split(_AT_ONCE, dim=1)
    ends = torch.cat([bootstrap_means(part, seed=seed).nanquantile(tail, dim=0) for part in parts], dim=1)
    low, high = ends.masked_fill((~values.isnan()).sum(dim=0) < 2, torch.nan)
    return low, high
