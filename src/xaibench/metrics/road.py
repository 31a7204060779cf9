"""Remove and debias: faithfulness by removal where what is removed leaves no edges behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.metrics.case import Case, quality_metrics

__all__ = ["Road", "impute"]

_NEIGHBOURS = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
_ITERATIONS = 60
_RESIDUAL = 1e-3


@quality_metrics.register("road")
@dataclass(frozen=True, kw_only=True)
class Road:
    """Probability that the target keeps when the least important pixels go, less what it keeps without the most.

    Rong et al., *A consistent and efficient evaluation strategy for attribution methods* (ICML 2022). Each of
    ``shares`` of the pixels is removed by noisy linear imputation (`impute`), so that the model cannot read from the
    holes what was there. Halved, and averaged over the shares: in [-0.5, 0.5], about 0 for a map drawn at random.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    noise: float = 0.01

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            raise InputError(f"expected `shares` between 0 and 1, got {self.shares}")
        if not self.noise >= 0:
            raise InputError(f"expected `noise` >= 0, got {self.noise}")

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        if case.x.ndim != 4 or case.bounds is None:
            raise UnsupportedError(f"{self.name} needs images, got inputs {tuple(case.x.shape[1:])}")
        n, d = case.parts.shape
        low, high = case.bounds.tensors(case.x)
        noise = self.noise * (high - low) * case.rng(self.name).normal(tuple(case.x.shape[1:])).to(case.x.dtype)
        ranks = case.ranks()
        counts = torch.tensor([round(share * d) for share in self.shares], device=case.x.device)

        def build(rows: Tensor, step: Tensor) -> Tensor:
            count = counts[step // 2, None]
            first = step[:, None] % 2 == 0
            gone = (first & (ranks[rows] < count)) | (~first & (ranks[rows] >= d - count))
            gone = gone.view(-1, 1, *case.x.shape[2:])
            return case.bounds.clip(impute(case.x[rows], gone, noise[rows]))  # type: ignore[union-attr]

        scores = case.sweep(2 * len(self.shares), build, probability=True).view(n, -1, 2)
        return (scores[..., 1] - scores[..., 0]).mean(dim=1) / 2


def impute(x: Tensor, gone: Tensor, noise: Tensor) -> Tensor:
    """Images (m, channels, height, width) whose pixels at ``gone`` (m, 1, height, width) continue their surroundings.

    Each removed pixel is the mean of its eight neighbours, direct ones counting twice, plus ``noise`` (shaped as the
    images); the linear equations of all of them are solved together by conjugate gradients.
    """
    m, channels, height, width = x.shape
    kernel = x.new_tensor(_NEIGHBOURS).view(1, 1, 3, 3)
    hole = gone.to(x.dtype).expand_as(x).reshape(m * channels, 1, height, width)
    flat = x.reshape(m * channels, 1, height, width)
    weight = F.conv2d(torch.ones_like(flat[:1]), kernel, padding=1)

    def equations(value: Tensor) -> Tensor:
        return hole * (weight * value - F.conv2d(value, kernel, padding=1))

    value = hole * flat.mean(dim=(1, 2, 3), keepdim=True)
    known = flat * (1 - hole)
    residual = hole * F.conv2d(known, kernel, padding=1) - equations(value)
    direction, size = residual, residual.square().sum(dim=(1, 2, 3), keepdim=True)
    limit = _RESIDUAL**2 * size.clamp_min(1e-12)
    for _ in range(_ITERATIONS):
        left = size > limit
        if not bool(left.any()):
            break
        image = equations(direction)
        # What is solved stays as it is, so that images do not depend on each other.
        step = left * size / (direction * image).sum(dim=(1, 2, 3), keepdim=True).clamp_min(1e-30)
        value, residual = value + step * direction, residual - step * image
        grown = residual.square().sum(dim=(1, 2, 3), keepdim=True)
        direction, size = residual + grown / size.clamp_min(1e-30) * direction, grown
    return (known + value).view_as(x) + gone * noise
