"""Encoded images to tensors of one size and one number of channels."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Encoded", "decode_images", "image_channels", "images_tensor", "plain_picture", "probe_rows"]

Encoded = tuple[str, Callable[[], bytes]]
"""An image's name for messages, and a function that gives its encoded bytes."""

_ORIENTATION = 0x0112
_GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16L", "I;16B")


def probe_rows(size: int) -> range:
    """Up to 512 of ``size`` rows, evenly spread."""
    return range(0, size, size // 512 + 1)


def image_channels(images: Iterable[Encoded]) -> int:
    """3 if any of the images is in colour, else 1; only their headers are read."""
    return 3 if any(_open(image).mode not in _GREY_MODES for image in images) else 1


def decode_images(images: Sequence[Encoded], channels: int) -> Tensor:
    """Float32 (n, channels, height, width) in [0, 1]: turned upright, palettes resolved, transparency put on white."""
    first = _pixels(images[0], channels)
    out = np.empty((len(images), *first.shape), np.uint8)
    for index, image in enumerate(images):
        pixels = _pixels(image, channels)
        if pixels.shape != first.shape:
            raise InputError(
                f"expected images of one size, got {_size(first)} ({images[0][0]}) and {_size(pixels)} ({image[0]})"
            )
        out[index] = pixels
    return images_tensor(torch.from_numpy(out).permute(0, 3, 1, 2))


def images_tensor(pixels: Tensor) -> Tensor:
    """Bytes 0..255 to contiguous float32 in [0, 1]."""
    return pixels.contiguous().to(torch.float32).div_(255)


def _open(image: Encoded) -> Image:
    from PIL import Image as PILImage

    name, read = image
    try:
        return PILImage.open(io.BytesIO(read()))
    except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError):
        raise InputError(f"expected an image in {name}, got a file that cannot be read as one") from None


def _pixels(image: Encoded, channels: int) -> np.ndarray:
    """Bytes (height, width, channels)."""
    picture = plain_picture(_upright(image), image[0])
    if channels == 1 and picture.mode not in _GREY_MODES:
        raise InputError(f"expected greyscale images as the others of this set, got colour in {image[0]}")
    mode = "L" if channels == 1 else "RGB"
    array = np.asarray(picture if picture.mode == mode else picture.convert(mode))
    return array[..., None] if channels == 1 else array


def _upright(image: Encoded) -> Image:
    """Decoded, and turned as the camera says."""
    from PIL import ImageOps

    picture = _open(image)
    try:
        picture.load()
        return picture if picture.getexif().get(_ORIENTATION, 1) == 1 else ImageOps.exif_transpose(picture)
    except (OSError, ValueError, SyntaxError):
        raise InputError(f"expected a whole image in {image[0]}, got one that breaks off or is damaged") from None


def plain_picture(picture: Image, name: str) -> Image:
    """A decoded picture without palette, transparency (on white) or more than eight bits; ``name`` is for messages."""
    from PIL import Image as PILImage

    if picture.mode.startswith("I;16"):
        return PILImage.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise InputError(f"expected an image of 8 or 16 bits per channel in {name}, got mode {picture.mode}")
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        return PILImage.alpha_composite(PILImage.new("RGBA", coloured.size, "white"), coloured)
    return picture


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
