"""Planted evidence: data sets for which the right explanation is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from xaibench.data.scenes import SHAPES, SIDE, TEXTURES, paint
from xaibench.data.source import IMAGE_BOUNDS, Rows
from xaibench.rng import SampleRng
from xaibench.types import Bounds, Task

__all__ = ["EvidenceSource"]

_SIZES = {"train": 6000, "test": 1500}
_SEED = 0
_CHUNK = 256
_GLYPH = 5
_MARGIN = 1


@dataclass(frozen=True, kw_only=True)
class EvidenceSource:
    """Pictures whose class is the shape and texture of one planted object, and of nothing else; `masks` tell where.

    A watermark is a spurious cue: five by five pixels in the lower right corner, over the same picture. In ``train`` it
    goes with the class in 95 % of the rows, in ``test`` it is drawn regardless of the class, and ``test_biased`` has
    the pictures of ``test`` with watermarks as in ``train``: a model that leans on them does better there.
    """

    watermark: Literal["none", "by_class", "one_class"] = "none"
    """``by_class``: one of eight marks, a class's own; ``one_class``: the same mark, on class 0 only."""
    agreement: float = 0.95

    task: Task = field(default="image", init=False)
    bounds: Bounds = field(default=IMAGE_BOUNDS, init=False)
    feature_names: None = field(default=None, init=False)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Texture and shape."""
        return tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)

    @property
    def splits(self) -> tuple[str, ...]:
        """``test_biased`` only where there is a watermark."""
        return ("train", "test") if self.watermark == "none" else ("train", "test", "test_biased")

    def size(self, split: str) -> int:
        """Number of rows of a split."""
        return _SIZES[_scene(split)]

    def read(self, split: str, ids: Tensor) -> Rows:
        """Paint the rows with these ids."""
        parts = [self._read(split, part) for part in ids.split(_CHUNK)]
        images, labels, masks, marked = (torch.cat(column) for column in zip(*parts, strict=True))
        return Rows(
            inputs=images, labels=labels, masks=masks, spurious_masks=None if self.watermark == "none" else marked
        )

    def _read(self, split: str, ids: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        stream = f"evidence/{_scene(split)}"
        labels = _choice(SampleRng(ids, _SEED, f"{stream}/label"), len(self.class_names))
        picture, masks = paint(ids, labels, seed=_SEED, stream=stream)
        marked = torch.zeros_like(masks)
        if self.watermark != "none":
            marks = self._marks(SampleRng(ids, _SEED, f"{stream}/watermark"), labels, biased=split != "test")
            corner = slice(SIDE - _GLYPH - _MARGIN, SIDE - _MARGIN)
            marked[:, corner, corner] = (marks >= 0)[:, None, None]
            glyphs = torch.where(marks[:, None, None] >= 0, _glyphs(len(self.class_names))[marks], 0.0)
            over = torch.zeros_like(picture[:, 0])
            over[:, corner, corner] = glyphs
            picture = torch.where(marked[:, None], over[:, None], picture)
        # Bytes: differences in the last bit between machines' sines vanish.
        images = (picture * 255).round_().to(torch.uint8).to(torch.float32).div_(255)
        return images, labels, masks & ~marked, marked

    def _marks(self, rng: SampleRng, labels: Tensor, *, biased: bool) -> Tensor:
        """(n,) which mark each row carries, -1 for none."""
        classes = len(self.class_names)
        agrees = rng.uniform((), step=1) < self.agreement
        if self.watermark == "one_class":
            with_class = (labels == 0) == agrees
            return torch.where(with_class if biased else rng.uniform((), step=2) < 0.5, 0, -1)
        if not biased:
            return _choice(rng, classes)
        return torch.where(agrees, labels, (labels + 1 + _choice(rng, classes - 1)) % classes)


def _scene(split: str) -> str:
    return split.removesuffix("_biased")


def _choice(rng: SampleRng, options: int) -> Tensor:
    """(n,) int64, uniform below ``options``."""
    return (rng.uniform(()) * options).long()


def _glyphs(count: int) -> Tensor:
    """(count, 5, 5) of black and white: one mark a class."""
    bits = SampleRng(torch.arange(count), _SEED, "glyphs").uniform((_GLYPH, _GLYPH))
    return (bits < 0.5).double()
