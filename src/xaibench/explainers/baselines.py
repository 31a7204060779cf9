"""Reference inputs that stand for the absence of evidence."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.rng import SampleRng, permutation
from xaibench.types import Classifier, model_inputs

__all__ = ["Background", "Baseline", "BaselineName", "background_inputs", "baseline_inputs", "baseline_sets"]

BaselineName = Literal["auto", "zero", "mean", "min", "max", "unknown"]
Baseline = BaselineName | Tensor
"""A reference by name, or a tensor that broadcasts to the inputs (token ids for text).

``min`` and ``max`` are the corners of the box of inputs; ``mean`` is the mean that the model's card records, else the
centre of the box, and for a feature without two finite bounds 0, or the bound nearest to it. ``auto`` is ``min`` for
images (black), ``mean`` for tables, and padding for text. ``unknown`` is the token of words that have none of their
own; text knows no other names.
"""

Background = Literal["auto"] | Tensor
"""Samples (m, ...) that stand for what the model usually sees; ``auto`` takes training samples of the data that the
model's card names where they are on this machine, else uniform noise (padding for text), and the trust says which."""


def baseline_inputs(baseline: Baseline, model: Classifier, x: Tensor) -> Tensor:
    """The reference inputs for ``x`` (n, ...), in its shape and dtype."""
    if isinstance(baseline, Tensor):
        try:
            return baseline.to(x).expand_as(x).clone()
        except RuntimeError:
            raise InputError(
                f"expected a baseline that broadcasts to {tuple(x.shape)}, got {tuple(baseline.shape)}"
            ) from None
    if model.task == "text":
        if baseline == "unknown":
            return torch.full_like(x, _unknown_id(model))
        if baseline != "auto":
            raise InputError(f"expected baseline 'unknown', 'auto' (padding) or token ids for text, got {baseline!r}")
        return torch.full_like(x, _padding_id(model))
    if baseline == "unknown":
        raise InputError(f"expected a baseline 'unknown' for text alone, got it for task {model.task!r}")
    if baseline == "auto":
        baseline = "min" if model.task == "image" else "mean"
    low, high = model.bounds.tensors(x)
    if baseline == "mean":
        return _mean(model, x, _centre(low, high))
    corner = {"zero": torch.zeros_like(low), "min": low, "max": high}[baseline]
    if not bool(corner.isfinite().all()):
        raise InputError(f"expected finite bounds for baseline {baseline!r}, got {float(corner[corner.isinf()][0])}")
    return corner.expand_as(x).clone()


def baseline_sets(baseline: Baseline | tuple[BaselineName, ...], model: Classifier, x: Tensor) -> Tensor:
    """Several reference inputs (k, n, ...) for each of ``x`` (n, ...): of k names, or of a tensor with one axis more.

    What stands for one baseline stands for a set of one.
    """
    if isinstance(baseline, tuple):
        if not baseline:
            raise InputError("expected at least one baseline, got none")
        return torch.stack([baseline_inputs(name, model, x) for name in baseline])
    if isinstance(baseline, Tensor) and baseline.ndim == x.ndim + 1:
        if not len(baseline):
            raise InputError("expected at least one baseline, got none")
        return torch.stack([baseline_inputs(each, model, x) for each in baseline])
    return baseline_inputs(baseline, model, x)[None]


def _centre(low: Tensor, high: Tensor) -> Tensor:
    """The centre of a box; where a side is infinite, its number nearest to zero."""
    nearest = torch.zeros_like(low).clamp(low, high)
    return torch.where((high - low).isfinite(), (low + high) / 2, nearest)


def _mean(model: Classifier, x: Tensor, centre: Tensor) -> Tensor:
    if model.card is None or model.card.mean is None:
        return centre.expand_as(x).clone()
    mean = x.new_tensor(model.card.mean)
    return mean.view(-1, *[1] * (x.ndim - 2)).expand_as(x).clone()


def _unknown_id(model: Classifier) -> int:
    """The token id of unknown words; `UnsupportedError` where the model's tokenizer has none."""
    unknown = model.vocabulary.unknown
    if unknown is None:
        raise UnsupportedError("baseline 'unknown' needs a tokenizer with a token for unknown words, got none")
    return unknown


def _padding_id(model: Classifier) -> int:
    """The token id that the model's tokenizer pads with; 0 where it has none."""
    try:
        ids = model.encode([""])
    except UnsupportedError:
        return 0
    words = model.tokens(ids)[0]
    return next((int(index) for index, word in zip(ids[0], words, strict=True) if not word), 0)


def background_inputs(
    background: Background, model: Classifier, x: Tensor, *, count: int, seed: int
) -> tuple[Tensor, str]:
    """``count`` inputs (count, ...) that stand for what the model usually sees, and a clause on where they come from.

    They are the same for every batch. Fewer are given where there are no more. Raises `InputError` for backgrounds of
    another shape, and where neither training samples nor finite bounds are at hand.
    """
    if isinstance(background, Tensor):
        if background.ndim != x.ndim or background.shape[1:] != x.shape[1:] or not len(background):
            raise InputError(
                f"expected a background as (m, {', '.join(map(str, x.shape[1:]))}), got {tuple(background.shape)}"
            )
        order = permutation(len(background), seed, "background")[:count]
        return background.to(x)[order.to(x.device)], f"{len(order)} given background samples"
    if background == "auto" and model.card is not None and (found := _training_inputs(model, count, seed)) is not None:
        return found.to(x), f"{len(found)} training samples of {model.card.data.name} as background"
    if model.task == "text":
        return torch.full_like(x[:1], _padding_id(model)), "padding as background, for no texts were given"
    low, high = model.bounds.tensors(x)
    if not bool((high - low).isfinite().all()):
        raise InputError("expected samples as background where bounds are infinite, got 'auto'")
    unit = SampleRng(torch.arange(count, device=x.device), seed, "background").uniform(tuple(x.shape[1:])).to(x.dtype)
    return low + unit * (high - low), "uniform noise as background, for no samples were given"


def _training_inputs(model: Classifier, count: int, seed: int) -> Tensor | None:
    """Training rows of the data that the model's card names, if they are at hand."""
    from xaibench.data import data_at_hand, load_data

    assert model.card is not None
    source = model.card.data
    if not data_at_hand(source.name):
        return None
    try:
        return model_inputs(model, load_data(source.name, source.train_split, n=count, seed=seed).inputs)
    except (InputError, UnsupportedError, OSError):
        return None
