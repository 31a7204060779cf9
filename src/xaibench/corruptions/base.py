"""What every corruption shares: the registry, the frame that checks images, and random numbers by sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.registry import Registry, Spec
from xaibench.rng import SampleRng

__all__ = ["SEVERITIES", "Corruption", "corrupt", "corruptions", "pixels"]

SEVERITIES = (1, 2, 3, 4, 5)
_SIDE = 32
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Corruption(ABC):
    """A change of images that happens without an adversary; a subclass adds its five levels and what it does.

    Hendrycks & Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations* (ICLR
    2019), with their levels for images of 32 x 32. Lengths in pixels grow and shrink with the image (see `pixels`);
    amplitudes, shares of the image and qualities stay. The same random numbers serve all severities.
    """

    name: ClassVar[str]
    levels: ClassVar[tuple[Any, ...]]

    severity: int = 3

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise InputError(f"expected `severity` within 1..5, got {self.severity}")

    def __call__(self, x: Tensor, *, ids: Tensor | None = None, seed: int = 0) -> Tensor:
        """Corrupted images in the shape of ``x`` (n, channels, height, width) within [0, 1], float32 within [0, 1].

        ``ids`` (n,), int64, name the samples for the random numbers; 0..n-1 if not given. A sample's result depends on
        itself, its id and the seed alone. Raises `InputError` for anything but images within [0, 1].
        """
        if x.ndim != 4 or not x.is_floating_point() or not x.numel():
            raise InputError(f"expected images (n, channels, height, width), got {x.dtype} {tuple(x.shape)}")
        low, high = (float(value) for value in x.aminmax())
        if not (low >= 0 and high <= 1):
            raise InputError(f"expected images within 0..1, got {low:.3g}..{high:.3g}")
        ids = torch.arange(len(x)) if ids is None else ids.cpu()
        if ids.shape != x.shape[:1] or ids.is_floating_point():
            raise InputError(f"expected {len(x)} sample ids, whole numbers, got {ids.dtype} {tuple(ids.shape)}")
        parts = zip(x.detach().cpu().float().split(_BATCH), ids.split(_BATCH), strict=True)
        level = self.levels[self.severity - 1]
        changed = [self._change(some, level, SampleRng(whose, seed=seed, stream=self.name)) for some, whose in parts]
        return torch.cat(changed).float().clamp(0, 1).to(x.device)

    @abstractmethod
    def _change(self, x: Tensor, level: Any, rng: SampleRng) -> Tensor:
        """The corrupted images (n, channels, height, width), clipped later."""


corruptions: Registry[Corruption] = Registry("corruption")
"""Corruptions by name."""


def corrupt(x: Tensor, name: str, severity: int = 3, *, ids: Tensor | None = None, seed: int = 0) -> Tensor:
    """Images ``x`` (n, channels, height, width) within [0, 1] under the corruption of a name; see `Corruption`.

    >>> corrupt(torch.zeros(1, 1, 2, 2), "brightness", severity=5)[0, 0, 0]
    tensor([0.3000, 0.3000])
    """
    return corruptions.create(Spec(name, {"severity": severity}))(x, ids=ids, seed=seed)


def pixels(length: float, x: Tensor) -> float:
    """A length in pixels of a 32 x 32 image, in pixels of these images (n, channels, height, width).

    At least half as many: the blurs of smaller images would be lost within a pixel.
    """
    return length * max(min(x.shape[2:]) / _SIDE, 0.5)
