"""Rotations and translations of images as a threat model: a finite set, so that what is claimed can be looked up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.rng import SampleRng
from xaibench.types import Bounds

__all__ = ["Motion", "Spatial"]

_TURNS, _SHIFTS = 4, 3
_TOLERANCE = 1e-6


class Motion(NamedTuple):
    """One rotation and translation."""

    size: float
    """The larger of both, as a share of the largest allowed at ``eps`` 1."""
    degrees: float
    """Counter-clockwise, around the centre."""
    right: float
    """As a share of the width."""
    down: float
    """As a share of the height."""


@dataclass(frozen=True)
class Spatial:
    """Images turned by up to ``eps`` * ``rotation`` degrees and moved by up to ``eps`` * ``translation`` of their size.

    Engstrom et al., *Exploring the landscape of spatial robustness* (ICML 2019). Angles are multiples of a quarter of
    the largest, shifts of a third, so there are 441 motions at ``eps`` 1 and those at a smaller ``eps`` are among them.
    Values between pixels are interpolated linearly; what comes in from outside repeats the border. No norm bounds the
    change of the pixels.
    """

    eps: float = 1.0
    _: KW_ONLY
    rotation: float = 30.0
    translation: float = 0.1
    norm: ClassVar[str] = "spatial"
    scale: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 1:
            raise InputError(f"expected 0 < eps <= 1 for spatial, a share of the largest motion, got {self.eps}")
        if not 0 <= self.rotation <= 180 or not 0 <= self.translation < 1 or not self.rotation + self.translation:
            raise InputError(
                f"expected a rotation within 0..180 degrees or a translation within 0..1, not both 0, "
                f"got {self.rotation} and {self.translation}"
            )

    @property
    def options(self) -> dict[str, Any]:
        """The largest motions at ``eps`` 1, as JSON-able keywords."""
        return {"rotation": self.rotation, "translation": self.translation}

    @property
    def motions(self) -> tuple[Motion, ...]:
        """All that are allowed, the smallest first; none is standing still."""
        turns = range(-_TURNS, _TURNS + 1) if self.rotation else (0,)
        shifts = range(-_SHIFTS, _SHIFTS + 1) if self.translation else (0,)
        every = [
            Motion(
                max(abs(turn) / _TURNS, abs(right) / _SHIFTS, abs(down) / _SHIFTS),
                self.rotation * turn / _TURNS,
                self.translation * right / _SHIFTS,
                self.translation * down / _SHIFTS,
            )
            for turn in turns
            for right in shifts
            for down in shifts
        ]
        return tuple(sorted(motion for motion in every if 0 < motion.size <= self.eps + 1e-9))

    def apply(self, motion: Motion, x: Tensor) -> Tensor:
        """Images ``x`` (n, channels, height, width) after a motion; no value leaves the range of its image."""
        height, width = x.shape[2:]
        cosine, sine = (function(math.radians(motion.degrees)) for function in (math.cos, math.sin))
        # The grid says where in the clean image, from -1 to 1, each pixel comes from: back by the shift, then turned.
        aspect = height / width
        turn = torch.tensor([[cosine, -sine * aspect], [sine / aspect, cosine]], dtype=torch.float64)
        back = turn @ torch.tensor([-2 * motion.right, -2 * motion.down], dtype=torch.float64)
        theta = torch.cat([turn, back[:, None]], dim=1).to(x).expand(len(x), 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
        low, high = (limit.view(-1, 1, 1, 1) for limit in x.flatten(1).aminmax(dim=1))
        return torch.minimum(torch.maximum(moved, low), high)

    def check(self, bounds: Bounds, input_shape: Sequence[int]) -> None:
        """Raise `InputError` for anything but images."""
        if len(input_shape) != 3:
            raise InputError(f"expected images for a spatial threat, got inputs of shape {tuple(input_shape)}")

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The size of the smallest allowed motion that makes ``a`` of ``b``, (n,); infinite if there is none.

        Values count as equal up to 1e-6 of the range of their image.
        """
        low, high = (limit.view(-1, 1, 1, 1) for limit in b.flatten(1).aminmax(dim=1))
        slack = _TOLERANCE * (high - low).clamp_min(_TOLERANCE)
        size = torch.full((len(a),), math.inf, dtype=torch.float64, device=a.device)
        size[((a - b).abs() <= slack).flatten(1).all(dim=1)] = 0
        for motion in self.motions:
            left = torch.nonzero(size.isinf()).squeeze(1)
            if not len(left):
                break
            same = (a[left] - self.apply(motion, b[left])).abs() <= slack[left]
            size[left[same.flatten(1).all(dim=1)]] = motion.size
        return size

    def contains(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """Whether each of ``x`` is its clean image after an allowed motion: bool (n,)."""
        return self.distance(x, clean) <= self.eps

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int | Tensor = 0) -> Tensor:
        """Each image after one of the motions at random."""
        motions = self.motions
        drawn = (rng.uniform((1,), step).squeeze(1) * len(motions)).long()
        moved = [self.apply(motions[int(i)], x[row : row + 1]) for row, i in enumerate(drawn)]
        return torch.cat(moved)

    def ascend(self, x: Tensor, gradient: Tensor, size: float | Tensor, bounds: Bounds) -> NoReturn:
        """Refused (`UnsupportedError`): motions are tried one by one."""
        raise UnsupportedError("rotations and translations have no gradient steps: expected the attack spatial")

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """Those of ``x`` that an allowed motion makes; the clean image in place of the others."""
        inside = self.contains(x, clean, bounds)
        return torch.where(inside.view(-1, 1, 1, 1), x, clean)
