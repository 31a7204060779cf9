"""Tensors as pictures: data URIs, in colours that the colour-blind can tell apart."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "collapse",
    "delta_pixels",
    "magnified",
    "map_picture",
    "map_pixels",
    "perturbation_picture",
    "photo",
    "photo_pixels",
    "triptych",
]

_NEGATIVE, _MIDDLE, _POSITIVE = (179, 88, 6), (247, 247, 245), (18, 78, 150)
_STRONG = (40, 16, 84)

_EXACT = 96
_LARGEST = 208
"""Pixels a side: pictures up to the first are kept as they are, others shrunk to the second, as wide as shown."""

_SHOWN = 256
"""Pixels a side that a saved picture of a small image is enlarged to."""


def photo(x: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> str:
    """An image (channels, height, width) within ``bounds`` as it looks; of more than four channels, their mean."""
    return _uri(photo_pixels(x, bounds))


def perturbation_picture(delta: Tensor) -> str:
    """A change (channels, height, width), magnified so that its largest entry is fully coloured.

    One channel: blue is brighter, orange is darker. Several: each colour by its own change around grey.
    """
    return _uri(delta_pixels(delta))


def magnified(delta: Tensor, bounds: tuple[float, float]) -> str:
    """How much larger than it is `perturbation_picture` shows a change of inputs within ``bounds``, in words.

    >>> magnified(torch.tensor([0.02, -0.01]), (0.0, 1.0)), magnified(torch.tensor([1.0]), (0.0, 1.0))
    ('magnified 50 times', 'at full strength')
    """
    times = (bounds[1] - bounds[0]) / float(delta.abs().amax().clamp_min(1e-12))
    told = f"{times:.0f}" if times >= 10 else f"{times:.2g}"
    return "at full strength" if told == "1" else f"magnified {told} times"


def triptych(clean: Tensor, attacked: Tensor, bounds: tuple[float, float] = (0.0, 1.0)) -> Image:
    """A clean image, the attacked one, and the change magnified to full colour, side by side."""
    from PIL import Image

    parts = [photo_pixels(clean, bounds), photo_pixels(attacked, bounds), delta_pixels(attacked - clean)]
    factor = max(1, _SHOWN // max(clean.shape[1:]))
    colour = [np.repeat(part[..., :3], 3 if part.shape[-1] == 1 else 1, axis=-1) for part in parts]
    gap = np.full((clean.shape[1], 1, 3), 255, dtype=np.uint8)
    row = np.concatenate([colour[0], gap, colour[1], gap, colour[2]], axis=1)
    return Image.fromarray(row.repeat(factor, axis=0).repeat(factor, axis=1))


def photo_pixels(x: Tensor, bounds: tuple[float, float]) -> np.ndarray:
    """Bytes (height, width, channels) of an image (channels, height, width) within ``bounds``."""
    low, high = bounds
    unit = ((x.float() - low) / (high - low)).clamp(0, 1)
    if len(unit) not in (1, 3, 4):
        unit = unit.mean(dim=0, keepdim=True)
    return np.rint(unit.permute(1, 2, 0).cpu().numpy() * 255).astype(np.uint8)


def delta_pixels(delta: Tensor) -> np.ndarray:
    """Bytes (height, width, channels) of a change (channels, height, width): see `perturbation_picture`."""
    if len(delta) != 3:
        return map_pixels(delta.mean(dim=0), signed=True)
    return photo_pixels(delta / _scale(delta), (-1.0, 1.0))


def map_picture(values: Tensor, *, signed: bool, scale: Tensor | None = None) -> str:
    """Attributions (height, width) as shares of ``scale``, their largest size if not given: orange, white, blue; else
    white to violet."""
    return _uri(map_pixels(values, signed=signed, scale=scale))


def map_pixels(values: Tensor, *, signed: bool, scale: Tensor | None = None) -> np.ndarray:
    """Bytes (height, width, 3) of attributions (height, width): see `map_picture`."""
    unit = (values.float() / _scale(values if scale is None else scale)).clamp(-1, 1).cpu().numpy()[..., None]
    middle = np.array(_MIDDLE, dtype=float)
    end = np.where(unit < 0, np.array(_NEGATIVE, dtype=float), np.array(_POSITIVE if signed else _STRONG, dtype=float))
    return np.rint(middle + (end - middle) * np.abs(unit)).astype(np.uint8)


def collapse(values: Tensor, *, signed: bool) -> Tensor:
    """Attributions (channels, height, width) as one map (height, width): their sum, or the largest of unsigned ones."""
    return values.sum(dim=0) if signed else values.amax(dim=0)


def _scale(values: Tensor) -> Tensor:
    return values.abs().amax().clamp_min(torch.finfo(torch.float32).tiny)


def _uri(pixels: np.ndarray) -> str:
    """PNG, exact; larger pictures are shrunk and take JPEG, so that a page stays small."""
    from PIL import Image

    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
    buffer, kind = io.BytesIO(), "png"
    if max(picture.size) > _EXACT:
        picture.thumbnail((_LARGEST, _LARGEST))
        kind = "jpeg"
    picture.convert("RGB" if kind == "jpeg" else picture.mode).save(buffer, kind, quality=88)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
