"""Faithfulness by removing parts one after the other: deletion, insertion, pixel flipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.metrics.case import Case, quality_metrics

__all__ = ["Deletion", "Insertion", "PixelFlipping"]


@quality_metrics.register("deletion")
@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Mean probability of the target while parts are removed, the most important first: low if they mattered.

    Petsiuk et al., *RISE: randomized input sampling for explanation of black-box models* (BMVC 2018): the area under
    the curve over the share removed, from none to all in ``steps`` steps.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    steps: int = 32

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        return _area(_removal_curve(case, self.steps, insert=False))


@quality_metrics.register("insertion")
@dataclass(frozen=True, kw_only=True)
class Insertion:
    """Mean probability of the target while parts join the baseline, the most important first: high if they mattered.

    Petsiuk et al., *RISE: randomized input sampling for explanation of black-box models* (BMVC 2018).
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    steps: int = 32

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        return _area(_removal_curve(case, self.steps, insert=True))


@quality_metrics.register("pixel_flipping")
@dataclass(frozen=True, kw_only=True)
class PixelFlipping:
    """Mean fall of the target logit while parts, the most important first, take random values.

    Bach et al., *On pixel-wise explanations for non-linear classifier decisions by layer-wise relevance propagation*
    (PLOS ONE 2015); Samek et al., *Evaluating the visualization of what a deep neural network has learned* (TNNLS
    2017): the area over the perturbation curve until ``share`` of the parts have gone. Values are uniform within the
    bounds; words give way to those of the baseline.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    steps: int = 16
    share: float = 0.25

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if not 0 < self.share <= 1:
            raise InputError(f"expected `share` in (0, 1], got {self.share}")

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        curve = _removal_curve(case, self.steps, share=self.share, insert=False, probability=False, fill=_flips(case))
        return (curve[:, :1] - curve).mean(dim=1)


def _flips(case: Case) -> Tensor:
    """Random values (n, ...) to take the place of the inputs."""
    if case.bounds is None:
        return case.baseline
    low, high = case.bounds.tensors(case.x)
    return low + (high - low) * case.rng("flips").uniform(tuple(case.x.shape[1:])).to(case.x.dtype)


def _removal_curve(
    case: Case, steps: int, *, insert: bool, share: float = 1.0, probability: bool = True, fill: Tensor | None = None
) -> Tensor:
    """(n, steps + 1): the target's probability or logit with 0 to ``share`` of the parts removed, or inserted."""
    ranks, size = case.ranks(), case.present.sum(dim=1)
    levels = torch.linspace(0, share, steps + 1, dtype=torch.float64, device=ranks.device)

    def build(rows: Tensor, step: Tensor) -> Tensor:
        count = (levels[step] * size[rows]).round()
        first = ranks[rows] < count[:, None]
        return case.removed(rows, first != insert, None if fill is None else fill[rows])

    return case.sweep(steps + 1, build, probability=probability)


def _area(curve: Tensor) -> Tensor:
    return (curve[:, 1:] + curve[:, :-1]).mean(dim=1) / 2


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise InputError(f"expected `steps` >= 1, got {steps}")
