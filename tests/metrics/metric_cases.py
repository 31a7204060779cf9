"""A case whose right answers are known: a model that looks at one square of the picture, linearly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xaibench.metrics import Case
from xaibench.types import Bounds

N, SIDE = 6, 10


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mask(n: int = N) -> Tensor:
    """(n, height, width) bool: a square of evidence that wanders."""
    found = torch.zeros(n, SIDE, SIDE, dtype=torch.bool)
    for row in range(n):
        start = row % (SIDE - 4)
        found[row, start : start + 4, 2:6] = True
    return found


def planted(n: int = N, channels: int = 2) -> Case:
    """Logits (z, -z, -100) where z adds up bright pixels of the square of its own sample; values are exact."""
    x = 0.6 + 0.4 * torch.rand(n, channels, SIDE, SIDE, generator=generator())
    where = mask(n)
    # Where the square lies is marked by its content, so that a row finds it wherever it stands.
    x = torch.where(where[:, None], x, 0.3 * x)
    weight = torch.rand(SIDE, SIDE, generator=generator(1)) + 0.5
    baseline = torch.full_like(x, 0.3)

    def logits(batch: Tensor) -> Tensor:
        z = ((batch - 0.3).clamp_min(0) * weight).double().flatten(1).sum(dim=1) * 0.1
        return torch.stack([z, -z, torch.full_like(z, -100.0)], dim=1)

    return Case(
        x=x,
        values=0.1 * weight * (x - 0.3).clamp_min(0),
        target=torch.zeros(n, dtype=torch.long),
        baseline=baseline,
        logits=logits,
        bounds=Bounds(0.0, 1.0),
        masks=where.flatten(1),
    )


def with_values(case: Case, values: Tensor, **rest: Any) -> Case:
    return replace(case, values=values, **rest)


def noise_like(values: Tensor, seed: int = 2) -> Tensor:
    return torch.randn(values.shape, generator=generator(seed))


def explaining(noise: float) -> Callable[[Tensor, Tensor], Tensor]:
    """An explainer of any inputs that gives them back, with some noise of its own."""

    def explain(x: Tensor, target: Tensor) -> Tensor:
        fresh = torch.randn(x.shape, generator=generator(int(x.sum() * 1e3) % 2**31))
        return x + noise * fresh

    return explain
