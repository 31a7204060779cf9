"""Uploaded pictures: read by content, within limits, whatever the file tries."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xaibench.errors import InputError
from xaibench.pages.shared import uploads
from xaibench.pages.shared.limits import IMAGE_PIXELS
from xaibench.pages.shared.uploads import FORMATS, read_image


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    file.seek(0)
    return file


def halves(width: int, height: int) -> Image.Image:
    """Red above, blue below."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, :, 0] = 255
    pixels[height // 2 :, :, 2] = 255
    return Image.fromarray(pixels)


def png_header(width: int, height: int) -> bytes:
    """A PNG that states a size, with next to nothing in it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_whatever_its_name(kind: str) -> None:
    fitted = read_image(encoded(halves(16, 16), kind, **({"quality": 95} if kind == "JPEG" else {})), (3, 16, 16))
    assert fitted.x.shape == (1, 3, 16, 16)
    expected = torch.from_numpy(np.array(halves(16, 16)) / 255).permute(2, 0, 1).float()
    assert float((fitted.x[0] - expected).abs().mean()) < 0.03
    assert fitted.done == "taken as it is"


def test_a_picture_keeps_its_values_where_it_fits() -> None:
    pixels = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8)
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    assert torch.equal(read_image(encoded(picture), (3, 8, 8)).x[0], pixels / 255)


def test_the_middle_is_cut_and_scaled_and_that_is_said() -> None:
    wide = Image.new("RGB", (40, 20), "white")
    wide.paste((0, 0, 0), (10, 0, 30, 20))
    fitted = read_image(encoded(wide), (1, 10, 10))
    assert fitted.x.shape == (1, 1, 10, 10)
    assert float(fitted.x.max()) < 0.2
    assert fitted.done == "cut to its middle, scaled from 40×20 to 10×10 pixels, turned grey"


def test_a_camera_held_sideways_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    upright = read_image(encoded(halves(8, 8), exif=exif), (3, 8, 8)).x[0]
    assert torch.equal(upright[2, 0], torch.ones(8))
    assert torch.equal(upright[0, 7], torch.ones(8))


def test_transparency_is_put_on_white() -> None:
    assert float(read_image(encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 0))), (3, 4, 4)).x.min()) == 1


def test_of_an_animation_the_first_picture_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert float(read_image(file, (1, 4, 4)).x.min()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got something else"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "got something else"),
        (b"%PDF-1.7 " + bytes(500), "got something else"),
        (encoded(halves(8, 8), "TIFF").getvalue(), "got something else"),
        (encoded(halves(64, 64)).getvalue()[:-60], "breaks off"),
        (encoded(halves(64, 64), "JPEG").getvalue()[:300], "breaks off"),
        (encoded(halves(64, 64), "WEBP").getvalue()[:60], "breaks off|something else"),
        (png_header(60_000, 60_000), "at most 50 million pixels"),
        (png_header(12_000, 9_000), "at most 50 million pixels"),
        (png_header(IMAGE_PIXELS, 2), "at most 50 million pixels"),
        (png_header(2000, 2000), "breaks off"),
        (b"RIFF\x40\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + b"\xff\x3f\x00" * 2 + bytes(60), "16384×16384"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_image(io.BytesIO(content), (3, 8, 8))
    assert "\n" not in str(caught.value)


def test_a_large_file_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "IMAGE_BYTES", 1000)
    with pytest.raises(InputError, match="at most 0 MB"):
        read_image(io.BytesIO(encoded(Image.effect_noise((64, 64), 50)).getvalue()), (3, 8, 8))


def test_a_bomb_is_refused_before_its_pixels_take_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(_: object) -> None:
        raise AssertionError("a bomb was decoded")

    bomb = png_header(12_000, 9_000)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decoded)
    with pytest.raises(InputError, match="50 million pixels"):
        read_image(io.BytesIO(bomb), (3, 8, 8))


def test_flipped_bytes_never_raise_anything_else() -> None:
    whole = {kind: encoded(halves(24, 24), kind).getvalue() for kind in FORMATS}
    generator = np.random.default_rng(0)
    for kind, content in whole.items():
        for _ in range(60):
            broken = bytearray(content)
            for place in generator.integers(0, len(broken), 4):
                broken[place] = generator.integers(256)
            try:
                fitted = read_image(io.BytesIO(bytes(broken)), (3, 8, 8))
            except InputError:
                continue
            assert fitted.x.shape == (1, 3, 8, 8), kind
