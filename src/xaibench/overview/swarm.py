"""The data of a beeswarm: every sample's attribution of every important feature, and the value it had there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers import Attribution
from xaibench.overview.importance import flat_names

__all__ = ["Beeswarm", "beeswarm"]

_BINS = 60


@dataclass(frozen=True, kw_only=True)
class Beeswarm:
    """The k most important features of n samples, most important first."""

    names: tuple[str, ...]
    """(k,)."""
    index: Tensor
    """(k,), int64: their places among the flat features."""
    attribution: Tensor
    """(n, k), float64: the horizontal positions."""
    value: Tensor
    """(n, k), float64: the features' own values."""
    rank: Tensor
    """(n, k), float64: the values' mean ranks within their feature, from 0 to 1, for colours; 0.5 for a constant."""
    offset: Tensor
    """(n, k), float64, in -0.4..0.4: vertical positions around each feature's line, so that no points hide others."""


def beeswarm(
    attribution: Attribution, inputs: Tensor, *, names: Sequence[str] | None = None, most: int = 20
) -> Beeswarm:
    """The swarm of attributions (n, ...) of the ``most`` features with the largest mean absolute attribution.

    Lundberg et al., *From local explanations to global understanding with explainable AI for trees* (Nature Machine
    Intelligence 2020). Nothing is random: points that would lie on each other are stacked, alternately above and below
    the line. ``inputs`` are those that were explained. Raises `InputError` for inputs of another shape, for text, and
    for names that do not fit.

    >>> from xaibench import explain, load_data, load_model
    >>> rows = load_data("breast-cancer", "test", n=40)
    >>> found = explain(load_model("cancer-mlp"), rows.inputs, 1, method="input_x_gradient", trust="quick")
    >>> beeswarm(found, rows.inputs, names=rows.feature_names, most=5).attribution.shape
    torch.Size([40, 5])
    """
    if attribution.words is not None or inputs.shape != attribution.values.shape:
        raise InputError(
            f"expected the explained inputs, {tuple(attribution.values.shape)} and no text, got {tuple(inputs.shape)}"
        )
    if most < 1:
        raise InputError(f"expected `most` >= 1, got {most}")
    values = attribution.values.detach().flatten(1).double().cpu()
    index = values.abs().mean(dim=0).argsort(descending=True, stable=True)[:most]
    labels = flat_names(inputs.shape[1:], names)
    chosen, own = values[:, index], inputs.detach().flatten(1).double().cpu()[:, index]
    return Beeswarm(
        names=tuple(labels[place] for place in index.tolist()),
        index=index,
        attribution=chosen,
        value=own,
        rank=_rank(own),
        offset=_offset(chosen),
    )


def _rank(values: Tensor) -> Tensor:
    """Mean ranks of each column (n, k) from 0 to 1, 0.5 where all are equal."""
    columns = values.T.contiguous()
    ordered = columns.sort(dim=1).values
    first, behind = (torch.searchsorted(ordered, columns, right=right) for right in (False, True))
    rank = (first + behind - 1).double().T / 2
    return rank / (len(values) - 1) if len(values) > 1 else torch.full_like(rank, 0.5)


def _offset(values: Tensor) -> Tensor:
    """Heights (n, k): the points of a narrow bin stack up on both sides of the line."""
    low, high = values.amin(), values.amax()
    column = ((values - low) / (high - low).clamp_min(1e-300) * (_BINS - 1)).round().long()
    place = torch.zeros_like(values)
    for k in range(values.shape[1]):
        seen: dict[int, int] = {}
        for i, slot in enumerate(column[:, k].tolist()):
            seen[slot] = seen.get(slot, -1) + 1
            level = seen[slot]
            place[i, k] = (level + 1) // 2 * (1 if level % 2 else -1)
    return 0.4 * place / place.abs().amax().clamp_min(1)
