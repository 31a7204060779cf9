"""Balls of the four usual norms: sample, ascend, project."""

from __future__ import annotations

import math
import threading
import weakref
from dataclasses import KW_ONLY, dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats.geometry import (
    box,
    column,
    contracted,
    displacement,
    largest,
    limits,
    normalised,
    place,
    room,
    shrunk,
    units,
)
from xaibench.types import Bounds

__all__ = ["L0", "L1", "L2", "Linf"]


@dataclass(frozen=True)
class Linf:
    """Every feature may change by up to ``eps``."""

    eps: float
    _: KW_ONLY
    scale: tuple[float, ...] | None = None
    norm: ClassVar[str] = "linf"

    def __post_init__(self) -> None:
        _check_fields(self)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Largest change of a feature."""
        return displacement(a, b, self.scale).abs().amax(dim=1)

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int | Tensor = 0) -> Tensor:
        """Every feature uniform in [-eps, eps]."""
        noise = rng.uniform((x[0].numel(),), step, low=-1.0, high=1.0).double() * self.eps
        return place(noise, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float | Tensor, bounds: Bounds) -> Tensor:
        """Every feature by ``size``, in the direction of its gradient's sign."""
        return x + units(x, self.scale) * gradient.sign() * column(size, x)

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """Every feature clamped; this is the nearest point of ball and box."""
        return x.clamp(*self.cube(clean, bounds))

    def cube(self, clean: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
        """Lowest and highest values (n, ...) within ball and box around clean inputs, in their dtype."""
        return _cube(self, clean, bounds)


@dataclass(frozen=True)
class L2:
    """The Euclidean length of the change is at most ``eps``."""

    eps: float
    _: KW_ONLY
    scale: tuple[float, ...] | None = None
    norm: ClassVar[str] = "l2"

    def __post_init__(self) -> None:
        _check_fields(self)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Length of the change."""
        return displacement(a, b, self.scale).norm(dim=1)

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int | Tensor = 0) -> Tensor:
        """A normal direction, with a radius that fills the ball."""
        features = x[0].numel()
        direction = normalised(rng.normal((features,), step).double())
        radius = _stream(rng, "radius").uniform((1,), step).double() ** (1 / features)
        return place(direction * radius * self.eps, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float | Tensor, bounds: Bounds) -> Tensor:
        """Along the gradient."""
        unit = units(x, self.scale)
        direction = normalised((gradient.double() * unit).flatten(1)).view(x.shape)
        return x + (unit * direction * column(size, x)).to(x.dtype)

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """The nearest point of ball and box: what the box cuts off one feature is left for the others."""
        offset = displacement(x, clean, self.scale)
        low, high = limits(clean, bounds, self.scale)
        size = contracted(offset.abs(), room(offset, low, high), self.eps)
        return place(size * offset.sign(), clean, bounds, self.scale)


@dataclass(frozen=True)
class L1:
    """The absolute changes sum up to at most ``eps``.

    Projection and step know the box, after Croce and Hein, *Mind the box: l1-APGD for sparse adversarial attacks on
    image classifiers* (ICML 2021).
    """

    eps: float
    _: KW_ONLY
    scale: tuple[float, ...] | None = None
    norm: ClassVar[str] = "l1"

    def __post_init__(self) -> None:
        _check_fields(self)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Sum of the changes."""
        return displacement(a, b, self.scale).abs().sum(dim=1)

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int | Tensor = 0) -> Tensor:
        """Uniform on the cross-polytope."""
        features = x[0].numel()
        # d of d + 1 exponential spacings are uniform on the simplex; random signs spread it over the ball.
        spacing = -torch.log1p(-rng.uniform((features + 1,), step).double())
        share = spacing[:, :-1] / spacing.sum(dim=1, keepdim=True)
        sign = _stream(rng, "sign").bits((features,), step).sign()
        return place(share * sign * self.eps, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float | Tensor, bounds: Bounds) -> Tensor:
        """The steepest features one after another, each as far as the box goes, until ``size`` is spent."""
        unit = units(x, self.scale)
        slope = (gradient.double() * unit).flatten(1)
        low, high = limits(x, bounds, self.scale)
        order = slope.abs().argsort(dim=1, descending=True, stable=True)
        reach = room(slope, low, high).gather(1, order)
        spent = reach.cumsum(dim=1) - reach
        move = torch.zeros_like(slope).scatter(
            1, order, torch.minimum(reach, (column(size, spent) - spent).clamp_min(0))
        )
        return x + (unit * (move * slope.sign()).view(x.shape)).to(x.dtype)

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """The nearest point of ball and box."""
        offset = displacement(x, clean, self.scale)
        low, high = limits(clean, bounds, self.scale)
        size = shrunk(offset.abs(), room(offset, low, high), self.eps)
        return place(size * offset.sign(), clean, bounds, self.scale)


@dataclass(frozen=True)
class L0:
    """At most ``k`` features (of an image: single channel values) may change, each to anything in the box.

    A step has no length in this norm: `ascend` moves every feature far along the gradient and leaves it to the
    projection to keep the ``k`` that gain most, as in Croce and Hein, *Sparse and imperceivable adversarial attacks*
    (ICCV 2019).
    """

    k: int
    _: KW_ONLY
    scale: tuple[float, ...] | None = None
    norm: ClassVar[str] = "l0"
    _reach: ClassVar[float] = 10.0

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not 1 <= self.k < math.inf or self.k != int(self.k):
            raise InputError(f"expected k >= 1 changed features (a whole number) for l0, got {self.k}")
        object.__setattr__(self, "k", int(self.k))
        _check_fields(self)

    @property
    def eps(self) -> float:
        """``k``, under the name that all norms share."""
        return self.k

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Number of features that differ."""
        return (a != b).flatten(1).sum(dim=1).double()

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int | Tensor = 0) -> Tensor:
        """``k`` features at random, each uniform in the box."""
        features = x[0].numel()
        low, high = limits(x, bounds, self.scale)
        chosen = largest(_stream(rng, "features").uniform((features,), step), self.k)
        return place((low + (high - low) * rng.uniform((features,), step)) * chosen, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float | Tensor, bounds: Bounds) -> Tensor:
        """Along the gradient, beyond the box; ``size`` plays no part."""
        unit = units(x, self.scale)
        slope = gradient.double() * unit
        steepest = slope.abs().flatten(1).amax(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
        low, high = bounds.tensors(x)
        span = ((high - low) / unit).max()
        direction = slope / steepest.view(-1, *[1] * (x.ndim - 1))
        return x + (unit * direction * span * self._reach).to(x.dtype)

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """The nearest point of ball and box; among equals the first features change."""
        offset = displacement(x, clean, self.scale)
        nearest = offset.clamp(*limits(clean, bounds, self.scale))
        gain = offset**2 - (offset - nearest) ** 2
        return place(nearest * largest(gain, self.k), clean, bounds, self.scale)


class _Cube(NamedTuple):
    """The limits of ball and box around the clean inputs that were asked about last: each step asks about the same."""

    threat: Linf
    clean: weakref.ref[Tensor]
    version: int
    bounds: Bounds
    limits: tuple[Tensor, Tensor]


_last = threading.local()


def _cube(threat: Linf, clean: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    last: _Cube | None = getattr(_last, "cube", None)
    asked = (threat, bounds, clean._version)
    if last is not None and last.clean() is clean and (last.threat, last.bounds, last.version) == asked:
        return last.limits
    exact = clean.double()
    reach = threat.eps * units(exact, threat.scale)
    low, high = box(clean, bounds)
    # The ball's limits are rounded inwards: to the next number towards the clean one.
    least = torch.nextafter((exact - reach).to(clean.dtype), clean)
    most = torch.nextafter((exact + reach).to(clean.dtype), clean)
    found = torch.maximum(least, low), torch.minimum(most, high)
    _last.cube = _Cube(threat, weakref.ref(clean), clean._version, bounds, found)
    return found


def _check_fields(threat: Linf | L2 | L1 | L0) -> None:
    if not 0 < threat.eps < math.inf:
        raise InputError(f"expected eps > 0 for {threat.norm}, got {threat.eps}")
    if threat.scale is not None and not all(0 < unit < math.inf for unit in threat.scale):
        raise InputError(f"expected a positive scale for every feature, got {threat.scale}")


def _stream(rng: SampleRng, name: str) -> SampleRng:
    return replace(rng, stream=f"{rng.stream}/{name}")
