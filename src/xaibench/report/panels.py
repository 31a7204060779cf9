"""Explanations of one sample by several methods, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from xaibench.drawing.pictures import collapse, map_pixels, photo_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Tile", "image_panel", "picture_panel", "table_panel", "text_panel"]

_SIDE, _GAP, _LINE, _COLUMNS = 160, 12, 15, 6
_WIDTH, _BARS = 960, 10
_INK, _SOFT, _PAPER = (24, 24, 28), (104, 104, 112), (255, 255, 255)
_AGAINST, _FOR, _STRENGTH = (179, 88, 6), (18, 78, 150), (88, 60, 140)


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One method's answer: its name, a line on its trust, and the values of one sample, shaped as the input."""

    title: str
    note: str
    values: Tensor
    signed: bool
    """Whether the method tells for from against."""


def image_panel(x: Tensor, heading: Sequence[str], tiles: Sequence[Tile], bounds: tuple[float, float]) -> Image:
    """An image (channels, height, width) beside the maps of all methods, in rows of six.

    Signed maps run from orange (against) over white to blue (for), unsigned ones from white to violet; each is scaled
    to its own largest value.
    """
    maps = [map_pixels(collapse(tile.values, signed=tile.signed), signed=tile.signed) for tile in tiles]
    cells = [("Input", heading[-1], photo_pixels(x, bounds))]
    cells += [(tile.title, tile.note, pixels) for tile, pixels in zip(tiles, maps, strict=True)]
    return picture_panel(heading, cells)


def picture_panel(heading: Sequence[str], cells: Sequence[tuple[str, str, np.ndarray]]) -> Image:
    """Pictures, as bytes (height, width, channels), in rows of six, each with a title and a note."""
    rows = -(-len(cells) // _COLUMNS)
    columns = min(len(cells), _COLUMNS)
    height = _SIDE + 2 * _LINE + _GAP
    picture, draw, top = _canvas(columns * (_SIDE + _GAP) + _GAP, rows * height, heading)
    for place, (title, note, pixels) in enumerate(cells):
        left, up = _GAP + place % columns * (_SIDE + _GAP), top + place // columns * height
        _write(draw, (left, up), title, _INK, _SIDE)
        picture.paste(_enlarged(pixels), (left, up + _LINE))
        _write(draw, (left, up + _LINE + _SIDE), note, _SOFT, _SIDE)
    return picture


def text_panel(words: Sequence[str], heading: Sequence[str], tiles: Sequence[Tile]) -> Image:
    """A text once for each method, its words coloured by their values: blue for the class, orange against it.

    Methods without a sign colour in violet.
    """
    shown = [place for place, word in enumerate(words) if word]
    lines = _wrapped([words[place] for place in shown])
    block = (len(lines) + 2) * (_LINE + 3) + _GAP
    picture, draw, top = _canvas(_WIDTH, block * len(tiles), heading)
    for place, tile in enumerate(tiles):
        up = top + place * block
        _write(draw, (_GAP, up), f"{tile.title}   {tile.note}", _INK, _WIDTH)
        values = tile.values[shown].double()
        shares = (values / values.abs().amax().clamp_min(1e-300)).tolist()
        for row, line in enumerate(lines):
            for left, index, word in line:
                share = shares[index]
                box = (
                    left - 2,
                    up + (row + 1) * (_LINE + 3),
                    left + _length(word) + 2,
                    up + (row + 2) * (_LINE + 3) - 2,
                )
                draw.rectangle(box, fill=_shade(share, tile.signed))
                draw.text((left, box[1] + 1), word, fill=_PAPER if abs(share) > 0.6 else _INK, font=_font())
    return picture


def table_panel(names: Sequence[str], shown: Sequence[str], heading: Sequence[str], tiles: Sequence[Tile]) -> Image:
    """A row's features and their values ``shown`` as bars for each method, the ten largest of each."""
    count = min(_BARS, len(names))
    block = (count + 1) * _LINE + _GAP
    picture, draw, top = _canvas(_WIDTH, block * len(tiles), heading)
    middle, reach = 640, 280
    for place, tile in enumerate(tiles):
        up = top + place * block
        _write(draw, (_GAP, up), f"{tile.title}   {tile.note}", _INK, _WIDTH)
        values = tile.values.flatten().double()
        shares = values / values.abs().amax().clamp_min(1e-300)
        order = values.abs().argsort(descending=True, stable=True)[:count].tolist()
        for row, feature in enumerate(order, start=1):
            share, line = float(shares[feature]), up + row * _LINE
            _write(draw, (_GAP, line), f"{names[feature]} = {shown[feature]}", _SOFT, middle - reach - 2 * _GAP)
            ends = sorted((middle, middle + round(reach * share)))
            draw.rectangle((ends[0], line + 2, ends[1], line + _LINE - 3), fill=_end(share, tile.signed))
    return picture


def _canvas(width: int, height: int, heading: Sequence[str]) -> tuple[Image, Any, int]:
    """An empty picture with a heading, the brush, and where the heading ends."""
    from PIL import Image, ImageDraw

    top = _GAP + len(heading) * (_LINE + 3) + _GAP // 2
    width = max(width, max(map(_length, heading), default=0) + 2 * _GAP)
    picture = Image.new("RGB", (width, top + height), _PAPER)
    draw = ImageDraw.Draw(picture)
    for row, line in enumerate(heading):
        draw.text((_GAP, _GAP + row * (_LINE + 3)), line, fill=_INK, font=_font())
    return picture, draw, top


def _write(draw: Any, place: tuple[int, int], text: str, colour: tuple[int, int, int], width: int) -> None:
    """Text cut to a width; Pillow's own font has no multiplication sign."""
    text = text.replace("×", "x")
    while _length(text) > width and len(text) > 1:
        text = text[:-2] + "…"
    draw.text(place, text, fill=colour, font=_font())


def _wrapped(words: Sequence[str]) -> list[list[tuple[int, int, str]]]:
    """Words in lines of the panel's width, each with its left edge and its place."""
    lines: list[list[tuple[int, int, str]]] = [[]]
    left = _GAP
    for place, word in enumerate(words):
        if left + _length(word) > _WIDTH - _GAP and lines[-1]:
            lines.append([])
            left = _GAP
        lines[-1].append((left, place, word))
        left += _length(word) + 7
    return lines


def _enlarged(pixels: np.ndarray) -> Image:
    from PIL import Image

    picture = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).convert("RGB")
    small = max(picture.size) <= _SIDE
    return picture.resize((_SIDE, _SIDE), Image.Resampling.NEAREST if small else Image.Resampling.LANCZOS)


def _shade(share: float, signed: bool) -> tuple[int, int, int]:
    end = _end(share, signed)
    return tuple(round(white + (colour - white) * abs(share)) for white, colour in zip(_PAPER, end, strict=True))  # type: ignore[return-value]


def _end(share: float, signed: bool) -> tuple[int, int, int]:
    return (_FOR if share > 0 else _AGAINST) if signed else _STRENGTH


@cache
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(12)


def _length(text: str) -> int:
    return int(_font().getlength(text))
