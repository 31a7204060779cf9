"""Samples in batches, and what a model makes of one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.types import Classifier, Inputs, model_inputs

__all__ = ["BATCH", "batch_inputs", "batch_logits", "batches"]

BATCH = 64


def batches(n: int, size: int | None = None) -> Iterator[slice]:
    """Slices of at most ``size`` (default 64) that cover 0..n-1."""
    size = size or BATCH
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def batch_inputs(model: Classifier, data: Data, rows: slice) -> Tensor:
    """Inputs of these rows on the model's device; token ids for text."""
    return model_inputs(model, data.inputs[rows]).to(model.device)


def batch_logits(model: Classifier, x: Inputs) -> Tensor:
    """Logits (n, classes) on the CPU, without a graph; any that is not finite raises `InputError`."""
    with torch.no_grad():
        logits = model.logits(x).float().cpu()
    broken = int((~logits.isfinite()).any(dim=1).sum())
    if broken:
        raise InputError(f"expected finite logits from the model, got NaN or infinity for {broken} of {len(x)} inputs")
    return logits
