"""Reading the pictures that visitors upload: known by their content, and decoded within limits."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from xaibench.errors import InputError
from xaibench.pages.shared.limits import IMAGE_BYTES, IMAGE_PIXELS, MEGABYTE

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

__all__ = ["FORMATS", "SUFFIXES", "FittedImage", "read_image", "read_picture"]

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""Formats with simple, much-tested decoders; of an animation the first picture counts."""
SUFFIXES = ("png", "jpg", "jpeg", "webp", "bmp", "gif")
"""What file choosers offer; a name proves nothing."""

_ONE_AT_A_TIME = threading.Lock()
"""So that the memory that decoding takes is that of one picture, whatever many visitors upload at once."""


@dataclass(frozen=True, kw_only=True)
class FittedImage:
    """A picture as a model takes it: ``x`` (1, channels, height, width) in [0, 1], and what was done to it."""

    x: Tensor
    done: str


def read_image(file: BinaryIO, shape: tuple[int, ...]) -> FittedImage:
    """An uploaded picture in a model's ``shape`` (channels, height, width): its middle, scaled, in colour or grey.

    Raises `InputError` for what is no picture, too large, broken off, or of a format that is not read.
    """
    channels, height, width = shape
    if channels not in (1, 3):
        raise InputError(f"expected a model that takes 1 or 3 channels, got one of {channels}")
    with _ONE_AT_A_TIME:
        picture = read_picture(file)
        return _fitted(picture, channels, height, width)


def read_picture(file: BinaryIO) -> Image:
    """An uploaded picture, upright, without palette and transparency; raises as `read_image` does."""
    content = file.read(IMAGE_BYTES + 1)
    if len(content) > IMAGE_BYTES:
        raise InputError(f"expected a picture of at most {IMAGE_BYTES // MEGABYTE} MB, got a larger one")
    _check_canvas(content)
    from PIL import Image as PILImage
    from PIL import ImageOps

    from xaibench.data.images import plain_picture

    try:
        with PILImage.open(io.BytesIO(content), formats=FORMATS) as picture:
            _check_size(*picture.size)
            picture.load()
            return plain_picture(ImageOps.exif_transpose(picture), "the upload")
    except InputError:
        raise
    except PILImage.UnidentifiedImageError:
        raise InputError(f"expected a picture as {', '.join(FORMATS)}, got something else") from None
    except (PILImage.DecompressionBombError, PILImage.DecompressionBombWarning):
        raise InputError(_too_large()) from None
    except Exception:  # whatever a file made to confuse a decoder brings about in it
        raise InputError("expected a whole picture, got one that breaks off or is damaged") from None


def _fitted(picture: Image, channels: int, height: int, width: int) -> FittedImage:
    import numpy as np
    import torch
    from PIL import Image as PILImage
    from PIL import ImageOps

    from xaibench.data.images import images_tensor

    done = []
    if picture.width * height != picture.height * width:
        done.append("cut to its middle")
    if picture.size != (width, height):
        done.append(f"scaled from {picture.width}×{picture.height} to {width}×{height} pixels")
    mode = "L" if channels == 1 else "RGB"
    if channels == 1 and picture.mode not in ("1", "L"):
        done.append("turned grey")
    fitted = ImageOps.fit(picture.convert(mode), (width, height), PILImage.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(fitted).reshape(1, height, width, channels)).permute(0, 3, 1, 2)
    return FittedImage(x=images_tensor(pixels), done=", ".join(done) or "taken as it is")


def _check_size(width: int, height: int) -> None:
    if not 0 < width * height <= IMAGE_PIXELS:
        raise InputError(_too_large(f"{width}×{height}"))


def _check_canvas(content: bytes) -> None:
    """Look at the size that an extended WebP states: its decoder makes room for that while it opens the file."""
    if content[:4] == b"RIFF" and content[8:16] == b"WEBPVP8X":
        width, height = (1 + int.from_bytes(content[at : at + 3], "little") for at in (24, 27))
        _check_size(width, height)


def _too_large(size: str = "more") -> str:
    return f"expected a picture of at most {IMAGE_PIXELS // 10**6} million pixels, got {size}"
