"""Pictures made by a seeded program: one planted object among distractors, on a cluttered background.

Everything but the outline and the texture of the planted object is drawn without knowing the class: its place, size,
angle and colours, the distractors, the background and the grain. So the class can be read from the object alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.rng import SampleRng

__all__ = ["SHAPES", "SIDE", "TEXTURES", "paint"]

SIDE = 32
"""Height and width of a picture, in pixels."""

_DISTRACTORS = 3
_WAVES = 4
_GRAIN = 0.06

Outline = Callable[[Tensor, Tensor], Tensor]
"""Distance from the outline, negative inside, of points in a frame where the thing has radius one."""

_SHAPES: dict[str, Outline] = {
    "disc": lambda u, v: torch.hypot(u, v) - 1,
    "square": lambda u, v: torch.maximum(u.abs(), v.abs()) - 0.85,
    "triangle": lambda u, v: torch.maximum(u.abs() * math.sqrt(0.75) + v / 2, -v) - 0.58,
    "cross": lambda u, v: torch.minimum(_box(u, v, 1.05, 0.36), _box(u, v, 0.36, 1.05)),
}
_OTHERS: dict[str, Outline] = {
    "ring": lambda u, v: (torch.hypot(u, v) - 0.8).abs() - 0.25,
    "bar": lambda u, v: _box(u, v, 1.3, 0.3),
    "crescent": lambda u, v: torch.maximum(torch.hypot(u, v) - 1, 0.9 - torch.hypot(u - 0.6, v)),
}
_TEXTURES: dict[str, Outline] = {
    "striped": lambda u, v: torch.sin(u),
    "checked": lambda u, v: torch.sin(u * 0.8) * torch.sin(v * 0.8) * 2,
}
SHAPES = tuple(_SHAPES)
TEXTURES = tuple(_TEXTURES)


def paint(ids: Tensor, labels: Tensor | None, *, seed: int, stream: str) -> tuple[Tensor, Tensor]:
    """Paint the pictures with these ids; each is a function of its id, the seed, the stream and its label alone.

    Args:
        ids: (n,) int64.
        labels: (n,) int64, ``shape * len(TEXTURES) + texture``; None leaves the object out.
        seed: of all random draws.
        stream: the name of the sequence of pictures.

    Returns:
        Pictures (n, 3, 32, 32), float64 in [0, 1], and masks (n, 32, 32), True where the object touches a pixel.
    """
    picture = _background(SampleRng(ids, seed, f"{stream}/background"))
    masks = torch.zeros(len(ids), SIDE, SIDE, dtype=torch.bool)
    for index in range(_DISTRACTORS):
        rng = SampleRng(ids, seed, f"{stream}/distractor {index}")
        chosen = rng.uniform((2,), step=1)
        kind, texture = (chosen[:, 0] * len(_OTHERS)).long(), (chosen[:, 1] * len(_TEXTURES)).long()
        picture, _ = _add(picture, _Thing.drawn(rng, smallest=3.8, largest=5.5), _OTHERS, kind, texture)
    if labels is not None:
        thing = _Thing.drawn(SampleRng(ids, seed, f"{stream}/object"), smallest=6.0, largest=8.0)
        picture, masks = _add(picture, thing, _SHAPES, labels // len(_TEXTURES), labels % len(_TEXTURES))
    grain = SampleRng(ids, seed, f"{stream}/grain").uniform((3, SIDE, SIDE), low=-_GRAIN, high=_GRAIN)
    return (picture + grain).clamp_(0, 1), masks


@dataclass(frozen=True, kw_only=True)
class _Thing:
    """Place, angle, size and colours of the things with these ids, one a picture."""

    u: Tensor
    """(n, height, width): pixel centres in the thing's own frame, in pixels."""
    v: Tensor
    radius: Tensor
    """(n, 1, 1), in pixels."""
    period: Tensor
    """(n, 1, 1), of the texture, in pixels."""
    colours: Tensor
    """(n, 2, 3): the dark and the light colour of the texture."""

    @classmethod
    def drawn(cls, rng: SampleRng, *, smallest: float, largest: float) -> _Thing:
        draw = rng.uniform((9,)).double()[:, :, None, None]
        radius = smallest + (largest - smallest) * draw[:, 0]
        x, y = (radius + (SIDE - 2 * radius) * draw[:, axis] for axis in (1, 2))
        axis = torch.arange(SIDE, dtype=torch.float64) + 0.5
        u, v = _turn(axis[None, None, :] - x, axis[None, :, None] - y, (draw[:, 3] - 0.5) * (math.pi / 3))
        light, dark = 0.35 + 0.65 * draw[:, 4:7], 0.3 * draw[:, 4:7]
        light = light / light.amax(1, keepdim=True)
        colours = torch.stack([dark, light], dim=1).flatten(2)
        return cls(u=u, v=v, radius=radius, period=3.6 + 1.2 * draw[:, 7], colours=colours)


def _add(
    picture: Tensor, thing: _Thing, outlines: dict[str, Outline], kind: Tensor, texture: Tensor
) -> tuple[Tensor, Tensor]:
    """The picture with each row's thing on it, its edge smoothed over a pixel; and where it lies."""
    distance = torch.empty_like(thing.u)
    for index, outline in enumerate(outlines.values()):
        rows = kind == index
        distance[rows] = outline(thing.u[rows] / thing.radius[rows], thing.v[rows] / thing.radius[rows])
    cover = (0.5 - distance * thing.radius).clamp_(0, 1)
    wave = torch.empty_like(thing.u)
    u, v = _turn(thing.u, thing.v, torch.full_like(thing.radius, math.pi / 4))
    for index, pattern in enumerate(_TEXTURES.values()):
        rows = texture == index
        frequency = 2 * math.pi / thing.period[rows]
        wave[rows] = pattern(u[rows] * frequency, v[rows] * frequency)
    tone = (0.5 + wave).clamp_(0, 1)[:, None]
    dark, light = thing.colours[:, :, :, None, None].unbind(1)
    return torch.lerp(picture, torch.lerp(dark, light, tone), cover[:, None]), cover > 0


def _background(rng: SampleRng) -> Tensor:
    """(n, 3, height, width): a muted colour with slow waves of other colours."""
    draw = rng.uniform((_WAVES, 6)).double()
    axis = torch.arange(SIDE, dtype=torch.float64)
    picture = 0.3 + 0.4 * rng.uniform((3, 1, 1), step=1).double() + torch.zeros(3, SIDE, SIDE, dtype=torch.float64)
    for wave in draw.unbind(1):
        across, down = ((wave[:, i, None] - 0.5) * 0.9 * axis for i in (0, 1))
        phase = across[:, None, :] + down[:, :, None] + 2 * math.pi * wave[:, 2, None, None]
        picture += 0.24 * (wave[:, 3:, None, None] - 0.5) * torch.sin(phase)[:, None]
    return picture


def _turn(x: Tensor, y: Tensor, angle: Tensor) -> tuple[Tensor, Tensor]:
    return x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()


def _box(u: Tensor, v: Tensor, width: float, height: float) -> Tensor:
    return torch.maximum(u.abs() - width, v.abs() - height)
