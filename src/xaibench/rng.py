"""Counter-based randomness per sample: the same numbers whatever the batch, order, shard or machine.

Each number is a hash of (seed, sample id, stream, step, element), after the counter-based generators of
Salmon et al., *Parallel random numbers: as easy as 1, 2, 3* (SC 2011), with the 64-bit finaliser known as
SplitMix64 (Steele et al., *Fast splittable pseudorandom number generators*, OOPSLA 2014) as the mixing step.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral

import torch
from torch import Tensor

from xaibench.errors import InputError

__all__ = ["SampleRng", "check_seed", "content_ids", "derive_seed", "permutation"]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _signed(value: int) -> int:
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value


def _shift(value: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's own is arithmetic on int64."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _mix(value: Tensor) -> Tensor:
    value = (value ^ _shift(value, 30)) * _signed(0xBF58476D1CE4E5B9)
    value = (value ^ _shift(value, 27)) * _signed(0x94D049BB133111EB)
    return value ^ _shift(value, 31)


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from anything printable, the same on every machine.

    >>> derive_seed(0, "pgd") == derive_seed(0, "pgd") != derive_seed(1, "pgd")
    True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check_seed(seed: object) -> None:
    """Raise `InputError` for a seed that is not a whole number."""
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise InputError(f"expected `seed` as a whole number, got {seed!r}")


@dataclass(frozen=True)
class SampleRng:
    """Random numbers for the samples with these ``ids`` (n,), int64; they live on the device of ``ids``.

    A ``step`` is one number for all samples, or (n,), int64, where each stands at another.

    >>> a = SampleRng(torch.tensor([3, 5]), seed=0, stream="pgd").uniform((2,))
    >>> b = SampleRng(torch.tensor([5]), seed=0, stream="pgd").uniform((2,))
    >>> bool((a[1] == b[0]).all())
    True
    """

    ids: Tensor
    seed: int = 0
    stream: str = ""

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def bits(self, shape: tuple[int, ...], step: int | Tensor = 0) -> Tensor:
        """(n, *shape) of 64 random bits as int64."""
        count = math.prod(shape)
        key = self._keys(step)
        row = _mix(self.ids.to(torch.int64) * _signed(_GOLDEN) + key)
        element = torch.arange(1, count + 1, device=self.ids.device) * _signed(_GOLDEN)
        return _mix(_mix(row[:, None] + element) ^ key[:, None]).reshape(len(self.ids), *shape)

    def _keys(self, step: int | Tensor) -> Tensor:
        """One key for each sample, or one for all (1,), as int64."""
        steps, which = torch.as_tensor(step).reshape(-1).unique(return_inverse=True)
        keys = [_key(self.seed, self.stream, value) for value in steps.tolist()]
        return torch.tensor(keys, device=self.ids.device)[which.to(self.ids.device)]

    def uniform(self, shape: tuple[int, ...], step: int | Tensor = 0, *, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(n, *shape) uniform on [low, high), float32."""
        unit = _shift(self.bits(shape, step), 40).to(torch.float32) * 2.0**-24
        below_high = torch.nextafter(torch.tensor(float(high)), torch.tensor(float(low)))
        return (low + (high - low) * unit).clamp(max=float(below_high))

    def normal(self, shape: tuple[int, ...], step: int | Tensor = 0) -> Tensor:
        """(n, *shape) standard normal, float32, by the Box-Muller transform."""
        bits = self.bits(shape, step)
        radius = (_shift(bits, 32).to(torch.float64) + 0.5) * 2.0**-32
        angle = (bits & 0xFFFFFFFF).to(torch.float64) * (2.0**-32 * 2 * math.pi)
        return (torch.sqrt(-2 * torch.log(radius)) * torch.cos(angle)).to(torch.float32)


@lru_cache(maxsize=1 << 14)
def _key(seed: int, stream: str, step: int) -> int:
    return _signed(derive_seed(seed, stream, step) * 2 + 1)


def content_ids(x: Tensor) -> Tensor:
    """Ids (n,), int64, of samples (n, ...) by what they hold: equal samples have equal ids, on every machine.

    >>> bool((content_ids(torch.eye(3)) == content_ids(torch.eye(3).flip(0)).flip(0)).all())
    True
    """
    rows = x.detach().flatten(1).contiguous()
    # Negative zero and zero are the same input.
    words = (rows.double() + 0.0).view(torch.int64) if rows.is_floating_point() else rows.long()
    place = torch.arange(1, words.shape[1] + 1, device=x.device) * _signed(_GOLDEN)
    return _mix(_mix(words ^ place).sum(dim=1))


def permutation(n: int, *parts: object) -> Tensor:
    """A permutation of 0..n-1 (int64) that depends only on ``n`` and ``parts``."""
    generator = torch.Generator().manual_seed(derive_seed(*parts))
    return torch.randperm(n, generator=generator)
