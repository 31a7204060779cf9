"""Processing: contrast, elastic deformation, pixelation, JPEG compression."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from xaibench.corruptions.base import Corruption, corruptions
from xaibench.corruptions.filters import gaussian
from xaibench.rng import SampleRng

__all__ = ["Contrast", "ElasticTransform", "JpegCompression", "Pixelate"]


@corruptions.register("contrast")
@dataclass(frozen=True, kw_only=True)
class Contrast(Corruption):
    """Less contrast: deviations from each channel's mean, times the level."""

    levels = (0.75, 0.5, 0.4, 0.3, 0.15)

    def _change(self, x: Tensor, level: float, rng: SampleRng) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        return mean + level * (x - mean)


@corruptions.register("elastic_transform")
@dataclass(frozen=True, kw_only=True)
class ElasticTransform(Corruption):
    """A random affine map, and a smooth random displacement on top of it.

    A level is the displacement before it is smoothed, the sigma of smoothing, and how far the corners of the affine
    map move; all are shares of the image's shorter side.
    """

    levels = ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))

    def _change(self, x: Tensor, level: tuple[float, float, float], rng: SampleRng) -> Tensor:
        strength, smoothness, corner = level
        height, width = x.shape[2:]
        side = min(height, width)
        # Three corners of a square around the centre, in shares of the side, and where they come from.
        corners = torch.tensor([[1 / 3, 1 / 3], [1 / 3, -1 / 3], [-1 / 3, -1 / 3]]).expand(len(x), 3, 2)
        moved = corners + rng.uniform((3, 2), low=-corner, high=corner)
        affine = torch.linalg.solve(F.pad(corners, (0, 1), value=1.0), moved)
        places = [(torch.arange(size) - (size - 1) / 2) / side for size in (width, height)]
        column, row = torch.meshgrid(*places, indexing="xy")
        at = torch.stack([column, row, torch.ones_like(row)], dim=2).flatten(0, 1) @ affine
        shift = rng.uniform((2, height, width), 1, low=-1.0, high=1.0)
        shift = strength * gaussian(shift.flatten(0, 1), smoothness * side).view(shift.shape).float()
        at = at.view(len(x), height, width, 2) + shift.movedim(1, 3)
        grid = at * (2 * side) / torch.tensor([max(width - 1, 1), max(height - 1, 1)])
        return F.grid_sample(x, grid, padding_mode="reflection", align_corners=True)


@corruptions.register("pixelate")
@dataclass(frozen=True, kw_only=True)
class Pixelate(Corruption):
    """Shrunk to a share of the size (the level) and blown up again, by the mean of what a pixel covers."""

    levels = (0.95, 0.9, 0.85, 0.75, 0.65)

    def _change(self, x: Tensor, level: float, rng: SampleRng) -> Tensor:
        height, width = x.shape[2:]
        small = (max(1, int(width * level)), max(1, int(height * level)))

        def pixelated(plane: np.ndarray) -> np.ndarray:
            image = Image.fromarray(plane).resize(small, Image.Resampling.BOX)
            return np.asarray(image.resize((width, height), Image.Resampling.BOX))

        return _stacked((pixelated(plane) for plane in x.flatten(0, 1).numpy()), x)


@corruptions.register("jpeg_compression")
@dataclass(frozen=True, kw_only=True)
class JpegCompression(Corruption):
    """Stored as JPEG; a level is the quality. Other than 1 or 3 channels are stored one by one."""

    levels = (80, 65, 58, 50, 40)

    def _change(self, x: Tensor, level: int, rng: SampleRng) -> Tensor:
        bytes_ = (x * 255).round().to(torch.uint8)
        planes = bytes_.movedim(1, 3).numpy() if x.shape[1] == 3 else bytes_.flatten(0, 1).numpy()
        stored = _stacked((_through_jpeg(plane, level) for plane in planes), None)
        return (stored.movedim(3, 1) if x.shape[1] == 3 else stored.view(x.shape)) / 255


def _through_jpeg(plane: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(plane).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def _stacked(planes: Iterable[np.ndarray], like: Tensor | None) -> Tensor:
    stack = torch.from_numpy(np.stack(list(planes)))
    return stack if like is None else stack.view(like.shape)
