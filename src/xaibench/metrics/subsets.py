"""Faithfulness by removing random sets of parts: do attributions add up to what the model loses?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.metrics.case import Case, quality_metrics

__all__ = ["FaithfulnessCorrelation", "Infidelity", "SensitivityN"]


@quality_metrics.register("faithfulness_correlation")
@dataclass(frozen=True, kw_only=True)
class FaithfulnessCorrelation:
    """Correlation, over random sets of parts, of their summed attributions with the fall of the logit without them.

    Bhatt et al., *Evaluating and aggregating feature-based model explanations* (IJCAI 2020). Each set holds ``share``
    of the parts.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    share: float = 0.2
    sets: int = 64

    def __post_init__(self) -> None:
        _check(self.sets, self.share)

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        return _correlation(*_removed_sets(case, (self.share,), self.sets))[:, 0]


@quality_metrics.register("sensitivity_n")
@dataclass(frozen=True, kw_only=True)
class SensitivityN:
    """As `FaithfulnessCorrelation`, averaged over sets of several sizes: 1 for a method that is exact at each of them.

    Ancona et al., *Towards better understanding of gradient-based attribution methods for deep neural networks* (ICLR
    2018). ``shares`` are the sizes, relative to the number of parts.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    shares: tuple[float, ...] = (0.02, 0.1, 0.3, 0.6)
    sets: int = 32

    def __post_init__(self) -> None:
        if not self.shares:
            raise InputError("expected at least one of `shares`, got none")
        _check(self.sets, *self.shares)

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        return _correlation(*_removed_sets(case, self.shares, self.sets)).mean(dim=1)


@quality_metrics.register("infidelity")
@dataclass(frozen=True, kw_only=True)
class Infidelity:
    """Mean squared error of the fall of the logit that attributions predict for random perturbations of the input.

    Yeh et al., *On the (in)fidelity and sensitivity of explanations* (NeurIPS 2019). ``removal`` takes random sets of
    ``share`` of the parts away, which suits attributions that are parts of the logit; ``noise`` subtracts normal noise
    of ``scale`` times the range, which suits gradients. With ``scaled`` the values are first multiplied by the factor
    that fits best, as the paper does to compare methods; it is never negative, so that a wrong sign is no help. With
    ``relative`` the error is divided by the mean square of the falls, so that 0 is perfect and 1 is what attributions
    of zero get.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    perturbation: Literal["removal", "noise"] = "removal"
    share: float = 0.2
    scale: float = 0.05
    samples: int = 64
    scaled: bool = True
    relative: bool = True

    def __post_init__(self) -> None:
        _check(self.samples, self.share)
        if not self.scale > 0:
            raise InputError(f"expected `scale` > 0, got {self.scale}")

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        if self.perturbation == "noise":
            predicted, fall = self._under_noise(case)
        else:
            predicted, fall = (part[:, 0] for part in _removed_sets(case, (self.share,), self.samples))
        if self.scaled:
            factor = (predicted * fall).sum(dim=1) / predicted.square().sum(dim=1).clamp_min(1e-30)
            predicted = predicted * factor.clamp_min(0)[:, None]
        error = (predicted - fall).square().mean(dim=1)
        return error / fall.square().mean(dim=1).clamp_min(1e-30) if self.relative else error

    def _under_noise(self, case: Case) -> tuple[Tensor, Tensor]:
        case.need(self, "bounds", "inputs that take noise, not words")
        assert case.bounds is not None
        low, high = case.bounds.tensors(case.x)
        rng, width, shape = case.rng("infidelity"), self.scale * (high - low), tuple(case.x.shape[1:])
        predicted = case.values.new_zeros(len(case.x), self.samples, dtype=torch.float64)

        def build(rows: Tensor, step: Tensor) -> Tensor:
            noise = width * type(rng)(rng.ids[rows], rng.seed, rng.stream).normal(shape, step).to(case.x.dtype)
            predicted[rows, step] = (noise * case.values[rows]).double().flatten(1).sum(dim=1)
            return case.x[rows] - noise

        scores = case.sweep(self.samples, build)
        return predicted, _now(case) - scores


def _removed_sets(case: Case, shares: tuple[float, ...], sets: int) -> tuple[Tensor, Tensor]:
    """Summed attributions and falls of the logit, both (n, shares, sets), of random sets of parts."""
    n, d = case.parts.shape
    size = case.present.sum(dim=1)
    parts = case.parts * case.present
    rng = case.rng("sets")
    counts = torch.stack([(share * size).round().clamp_min(1) for share in shares], dim=1)
    summed = parts.new_zeros(n, len(shares) * sets)

    def build(rows: Tensor, step: Tensor) -> Tensor:
        draw = type(rng)(rng.ids[rows], rng.seed, rng.stream).uniform((d,), step)
        draw = draw.masked_fill(~case.present[rows], torch.inf)
        count = counts[rows, step // sets].long()
        limit = draw.sort(dim=1).values.gather(1, count[:, None] - 1)
        gone = (draw <= limit) & case.present[rows]
        summed[rows, step] = (parts[rows] * gone).sum(dim=1)
        return case.removed(rows, gone)

    fall = _now(case) - case.sweep(len(shares) * sets, build)
    return summed.view(n, len(shares), sets), fall.view(n, len(shares), sets)


def _now(case: Case) -> Tensor:
    """Target logits (n, 1) of the inputs as they are."""
    return case.sweep(1, lambda rows, step: case.x[rows])


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's correlation along the last dimension; 0 where one side is constant."""
    one, other = (part - part.mean(dim=-1, keepdim=True) for part in (one, other))
    return (one * other).sum(dim=-1) / (one.norm(dim=-1) * other.norm(dim=-1)).clamp_min(1e-30)


def _check(samples: int, *shares: float) -> None:
    if samples < 2:
        raise InputError(f"expected at least two random sets or samples, got {samples}")
    for share in shares:
        if not 0 < share < 1:
            raise InputError(f"expected `share` between 0 and 1, got {share}")
