"""Blur: out of focus, through glass, by motion, by zooming."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.corruptions.base import Corruption, corruptions, pixels
from xaibench.corruptions.filters import disk, gaussian, magnified, motion, smoothed
from xaibench.rng import SampleRng

__all__ = ["DefocusBlur", "GlassBlur", "MotionBlur", "ZoomBlur"]


@corruptions.register("defocus_blur")
@dataclass(frozen=True, kw_only=True)
class DefocusBlur(Corruption):
    """A lens out of focus; a level is the radius of its disk and the softness of the edge, in pixels."""

    levels = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))

    def _change(self, x: Tensor, level: tuple[float, float], rng: SampleRng) -> Tensor:
        radius, softness = level
        return smoothed(x, disk(pixels(radius, x), pixels(softness, x)))


@corruptions.register("glass_blur")
@dataclass(frozen=True, kw_only=True)
class GlassBlur(Corruption):
    """Frosted glass: pixels swapped with neighbours, between two blurs.

    A level is the sigma of the blur and the reach of swaps, in pixels (of swaps at least 1), and how often all swap.
    """

    levels = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))

    def _change(self, x: Tensor, level: tuple[float, int, int], rng: SampleRng) -> Tensor:
        sigma, reach, rounds = pixels(level[0], x), max(1, round(pixels(level[1], x))), level[2]
        n, channels, height, width = x.shape
        source = torch.arange(height * width).repeat(n, 1)
        samples = torch.arange(n)
        for turn in range(rounds):
            offset = (rng.uniform((height, width, 2), turn) * 2 * reach).long() - reach
            for row in range(height - reach, reach - 1, -1):
                for column in range(width - reach, reach - 1, -1):
                    here = row * width + column
                    other = here + offset[:, row, column, 0] * width + offset[:, row, column, 1]
                    kept = source[:, here].clone()
                    source[:, here] = source[samples, other]
                    source[samples, other] = kept
        mixed = gaussian(x, sigma).flatten(2).gather(2, source[:, None].expand(n, channels, -1))
        return gaussian(mixed.view(x.shape), sigma)


@corruptions.register("motion_blur")
@dataclass(frozen=True, kw_only=True)
class MotionBlur(Corruption):
    """A camera that moved, within 45 degrees of the horizontal; a level is radius and sigma of the trace, in pixels."""

    levels = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))

    def _change(self, x: Tensor, level: tuple[float, float], rng: SampleRng) -> Tensor:
        angles = rng.uniform((1,), low=-45.0, high=45.0).squeeze(1)
        return smoothed(x, motion(pixels(level[0], x), pixels(level[1], x), angles))


@corruptions.register("zoom_blur")
@dataclass(frozen=True, kw_only=True)
class ZoomBlur(Corruption):
    """A camera that moved towards the object: the mean of magnifications up to the level, in steps of 1 %."""

    levels = (1.05, 1.10, 1.15, 1.20, 1.25)

    def _change(self, x: Tensor, level: float, rng: SampleRng) -> Tensor:
        factors = [1 + step / 100 for step in range(round((level - 1) * 100) + 1)]
        # The original counts twice: by itself and as the magnification by 1.
        return (x + sum(magnified(x, factor) for factor in factors)) / (len(factors) + 1)
