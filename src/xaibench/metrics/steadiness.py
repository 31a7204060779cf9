"""How much attributions move when the input hardly does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.metrics.case import Case, quality_metrics

__all__ = ["LocalLipschitz", "MaxSensitivity"]


@quality_metrics.register("max_sensitivity")
@dataclass(frozen=True, kw_only=True)
class MaxSensitivity:
    """Largest change of the attributions, relative to their norm, over random inputs near by; NaN for all zeros.

    Yeh et al., *On the (in)fidelity and sensitivity of explanations* (NeurIPS 2019). Inputs near by lie within
    ``radius`` times the range of each feature, uniformly, and within the bounds.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    radius: float = 0.02
    samples: int = 8

    def __post_init__(self) -> None:
        _check(self.radius, self.samples)

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        changes, _ = _neighbours(case, self, self.radius, self.samples)
        return changes.amax(dim=0) / _size(case)


@quality_metrics.register("local_lipschitz")
@dataclass(frozen=True, kw_only=True)
class LocalLipschitz:
    """Largest change of the attributions per distance, over random inputs near by, relative to their norm.

    Alvarez-Melis and Jaakkola, *On the robustness of interpretability methods* (WHI 2018). So that methods of
    different units compare, changes are divided by the norm of the attributions and distances by the norm of the range
    of the inputs: 1 is a change by all of the map on the way across the box.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    radius: float = 0.02
    samples: int = 8

    def __post_init__(self) -> None:
        _check(self.radius, self.samples)

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        changes, distances = _neighbours(case, self, self.radius, self.samples)
        return (changes / distances.clamp_min(1e-30)).amax(dim=0) / _size(case)


def _neighbours(
    case: Case, metric: MaxSensitivity | LocalLipschitz, radius: float, samples: int
) -> tuple[Tensor, Tensor]:
    """Norms of the changes of attributions (samples, n), and of those of the inputs relative to the box."""
    case.need(metric, "bounds", "inputs that take noise, not words")
    case.need(metric, "explain", "the explainer itself")
    assert case.bounds is not None
    assert case.explain is not None
    low, high = case.bounds.tensors(case.x)
    rng, shape = case.rng("neighbours"), tuple(case.x.shape[1:])
    changes, distances = [], []
    for step in range(samples):
        noise = rng.uniform(shape, step, low=-1.0, high=1.0).to(case.x.dtype)
        near = case.bounds.clip(case.x + radius * (high - low) * noise)
        changes.append(_norm(case.explain(near, case.target) - case.values))
        distances.append(_norm((near - case.x) / (high - low)) / case.x[0].numel() ** 0.5)
    return torch.stack(changes), torch.stack(distances)


def _size(case: Case) -> Tensor:
    """Norms of the attributions (n,); NaN for those that are all zero, where no change is relative to anything."""
    size = _norm(case.values)
    return size.masked_fill(size == 0, torch.nan)


def _norm(values: Tensor) -> Tensor:
    return values.double().flatten(1).norm(dim=1)


def _check(radius: float, samples: int) -> None:
    if not radius > 0:
        raise InputError(f"expected `radius` > 0, got {radius}")
    if samples < 1:
        raise InputError(f"expected `samples` >= 1, got {samples}")
