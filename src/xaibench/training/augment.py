"""Augmentation by per-sample randomness: the same image in the same epoch is changed the same way, in any batch."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.rng import SampleRng
from xaibench.training.recipe import Augmentation

__all__ = ["augment"]


def augment(x: Tensor, config: Augmentation, rng: SampleRng, epoch: int) -> Tensor:
    """Mirrored and shifted copies of images (n, channels, height, width); what a shift uncovers is a reflection."""
    if config.flip:
        mirrored = rng.uniform((1, 1, 1), 2 * epoch) < 0.5
        x = torch.where(mirrored, x.flip(-1), x)
    if config.shift:
        x = _shift(x, config.shift, rng.uniform((2,), 2 * epoch + 1))
    return x


def _shift(x: Tensor, reach: int, uniform: Tensor) -> Tensor:
    n, _, height, width = x.shape
    padded = torch.nn.functional.pad(x, (reach,) * 4, mode="reflect")
    offset = (uniform * (2 * reach + 1)).long()
    rows = offset[:, 0, None] + torch.arange(height, device=x.device)
    columns = offset[:, 1, None] + torch.arange(width, device=x.device)
    sample = torch.arange(n, device=x.device)[:, None, None]
    # Indices around a slice put the channels last; moving them back keeps the copy contiguous for convolutions.
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
