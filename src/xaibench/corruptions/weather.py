"""Weather: snow, frost, fog, bright light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.corruptions.base import Corruption, corruptions, pixels
from xaibench.corruptions.filters import fractal, motion, smoothed
from xaibench.rng import SampleRng

__all__ = ["Brightness", "Fog", "Frost", "Snow"]

_LUMINANCE = (0.299, 0.587, 0.114)
_ICE = (0.80, 0.92, 1.0)


@corruptions.register("snow")
@dataclass(frozen=True, kw_only=True)
class Snow(Corruption):
    """Flakes that fall in front of a whitened image.

    A level is mean and deviation of the field that flakes are cut from, their size, the threshold of the cut, radius
    and sigma of their fall, and how much of the image stays as it is.
    """

    levels = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )

    def _change(self, x: Tensor, level: tuple[float, ...], rng: SampleRng) -> Tensor:
        mean, deviation, size, threshold, radius, sigma, kept = level
        height, width = x.shape[2:]
        flake = max(1.0, pixels(size, x))
        coarse = (1, max(2, round(height / flake)), max(2, round(width / flake)))
        field = F.interpolate(mean + deviation * rng.normal(coarse), (height, width), mode="bilinear")
        flakes = field.clamp(0, 1) * (field >= threshold)
        angles = replace(rng, stream=f"{rng.stream}/angle").uniform((1,), low=45.0, high=135.0).squeeze(1)
        falling = smoothed(flakes, motion(pixels(radius, x), pixels(sigma, x), angles)).float()
        whitened = kept * x + (1 - kept) * torch.maximum(x, _grey(x) * 1.5 + 0.5)
        return whitened + falling + falling.rot90(2, (2, 3))


@corruptions.register("frost")
@dataclass(frozen=True, kw_only=True)
class Frost(Corruption):
    """Ice on the lens; a level is how much of the image and how much of the ice is seen.

    The paper pastes photographs of ice. Here it is drawn: bright ridges of noise at all scales, bluish in colour.
    """

    levels = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))

    def _change(self, x: Tensor, level: tuple[float, float], rng: SampleRng) -> Tensor:
        image, ice = level
        cover = fractal(replace(rng, stream=f"{rng.stream}/cover"), tuple(x.shape[2:]), 2.0)
        ridges = (1 - (2 * fractal(rng, tuple(x.shape[2:]), 1.4) - 1).abs()) ** 2
        colour = torch.tensor(_ICE if x.shape[1] == 3 else [1.0] * x.shape[1]).view(1, -1, 1, 1)
        return image * x + ice * (0.4 * cover + 0.6 * ridges) * 1.4 * colour


@corruptions.register("fog")
@dataclass(frozen=True, kw_only=True)
class Fog(Corruption):
    """Clouds over a darkened image; a level is their density and how fast their finer scales fade."""

    levels = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))

    def _change(self, x: Tensor, level: tuple[float, float], rng: SampleRng) -> Tensor:
        density, decay = level
        brightest = x.amax(dim=(1, 2, 3), keepdim=True)
        clouds = density * fractal(rng, tuple(x.shape[2:]), decay)
        return (x + clouds) * brightest / (brightest + density)


@corruptions.register("brightness")
@dataclass(frozen=True, kw_only=True)
class Brightness(Corruption):
    """Bright light: the largest channel of each pixel raised by the level, its hue and saturation kept."""

    levels = (0.05, 0.1, 0.15, 0.2, 0.3)

    def _change(self, x: Tensor, level: float, rng: SampleRng) -> Tensor:
        value = x.amax(dim=1, keepdim=True)
        raised = (value + level).clamp(max=1)
        return torch.where(value > 0, x / value.clamp_min(torch.finfo(x.dtype).tiny) * raised, raised)


def _grey(x: Tensor) -> Tensor:
    """Luminance (n, 1, h, w) of colours; the mean of any other number of channels."""
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    return (x * torch.tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
