"""Where a prediction breaks: the smallest radius that an attack needs, the largest that a proof covers, and chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.rng import SampleRng
from xaibench.threats import Threat, Words, contains
from xaibench.types import Classifier

__all__ = ["Edge", "edge", "noise"]


@dataclass(frozen=True)
class Edge:
    """Two radii between which an answer changes from no to yes; None where it was never the one."""

    no: float
    """The largest radius below `yes` that was tried without success; 0 if there was none."""
    yes: float | None
    """The smallest radius that was tried with success."""


def edge(holds: Callable[[float], bool], high: float, *, steps: int, whole: bool = False) -> Edge:
    """Halve the interval (0, ``high``] until a radius at which ``holds`` is found to within ``high`` / 2 ** ``steps``.

    With ``whole`` only whole numbers are tried, until none is left between. ``holds`` need not be monotone: what comes
    out are two neighbours among the radii that were tried.

    >>> edge(lambda radius: radius >= 0.3, 1.0, steps=3)
    Edge(no=0.25, yes=0.375)
    >>> edge(lambda radius: radius >= 3, 8, steps=9, whole=True)
    Edge(no=2, yes=3)
    """
    if not holds(high):
        return Edge(high, None)
    low: float = 0
    for _ in range(steps):
        middle = math.floor((low + high) / 2) if whole else (low + high) / 2
        if middle == low:
            break
        if holds(middle):
            high = middle
        else:
            low = middle
    return Edge(low, high)


def noise(model: Classifier, x: Tensor, label: int, threat: Threat, *, draws: int = 100, seed: int = 0) -> float:
    """The share of random changes of one sample ``x`` (1, ...), as large as ``threat`` allows, that change ``label``.

    Balls are sampled as attacks start in them; of a text as many words as may be edited are exchanged for any others.
    """
    many = x.expand(draws, *x.shape[1:])
    rng = SampleRng(torch.arange(draws, device=x.device), seed=seed, stream="noise")
    if isinstance(threat, Words):
        points = _exchanged(many, threat.fit(model), rng)
    else:
        points = getattr(threat, "finish", threat.project)(threat.sample(rng, many, model.bounds), many, model.bounds)
    assert bool(contains(threat.fit(model) if isinstance(threat, Words) else threat, points, many, model.bounds).all())
    return float((model.predict(points) != label).double().mean())


def _exchanged(x: Tensor, words: Words, rng: SampleRng) -> Tensor:
    """Texts (n, length) with as many words at random as may be edited exchanged for random others."""
    order = rng.uniform((x.shape[1],)).masked_fill(~words.editable(x), 2.0).argsort(dim=1)
    budget = torch.minimum(words.budget(x), words.editable(x).sum(dim=1))
    chosen = order.argsort(dim=1) < budget[:, None]
    pool = words.allowed.to(x.device).nonzero().flatten()
    drawn = pool[(rng.uniform((x.shape[1],), 1) * len(pool)).long().clamp_max(len(pool) - 1)]
    return torch.where(chosen, drawn, x)
