"""Reference inputs that stand for the absence of evidence."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Classifier

__all__ = ["Baseline", "baseline_inputs"]

Baseline = Literal["auto", "zero", "mean", "min", "max"] | Tensor
"""A reference by name, or a tensor that broadcasts to the inputs (token ids for text).

``min`` and ``max`` are the corners of the box of inputs; ``mean`` is the mean that the model's card records, else the
centre of the box. ``auto`` is ``min`` for images (black), ``mean`` for tables, and padding for text, the only name that
text knows.
"""


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
        if baseline != "auto":
            raise InputError(f"expected baseline 'auto' (padding) or token ids for text, got {baseline!r}")
        return torch.full_like(x, _padding_id(model))
    if baseline == "auto":
        baseline = "min" if model.task == "image" else "mean"
    low, high = model.bounds.tensors(x)
    if baseline == "mean":
        return _mean(model, x, (low + high) / 2)
    return {"zero": torch.zeros_like(x), "min": low.expand_as(x), "max": high.expand_as(x)}[baseline].clone()


def _mean(model: Classifier, x: Tensor, centre: Tensor) -> Tensor:
    if model.card is None or model.card.mean is None:
        return centre.expand_as(x).clone()
    mean = x.new_tensor(model.card.mean)
    return mean.view(-1, *[1] * (x.ndim - 2)).expand_as(x).clone()


def _padding_id(model: Classifier) -> int:
    """The token id that the model's tokenizer pads with; 0 where it has none."""
    try:
        ids = model.encode([""])
    except UnsupportedError:
        return 0
    words = model.tokens(ids)[0]
    return next((int(index) for index, word in zip(ids[0], words, strict=True) if not word), 0)
