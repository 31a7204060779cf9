"""Threat models: how far an input may be moved, in which norm, and never out of the box of valid inputs.

All geometry happens in units of ``scale`` and relative to the clean input: a perturbation ``u`` stands for the input
``clean + scale * u``. It is computed in float64 and rounded towards the clean input, so that a projected point lies in
the ball itself and not merely within rounding of it. A clean value that already lies outside the box is its own limit:
it may stay or move inwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.errors import InputError, unknown_name
from xaibench.rng import SampleRng
from xaibench.types import Bounds, Task

__all__ = ["L0", "L1", "L2", "Linf", "Threat", "as_dict", "check_threat", "contains", "feature_scale", "threat"]


class Threat(Protocol):
    """A ball around each clean input, in input units divided by ``scale`` (per feature, along the last dimension)."""

    norm: ClassVar[str]

    @property
    def eps(self) -> float:
        """Radius of the ball."""
        ...

    @property
    def scale(self) -> tuple[float, ...] | None:
        """Unit of distance for each feature, in input units; None is 1 for all."""
        ...

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (n,), float64, between two batches (n, ...)."""
        ...

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int = 0) -> Tensor:
        """Points drawn uniformly from the balls around ``x`` (n, ...), then moved into the box."""
        ...

    def ascend(self, x: Tensor, gradient: Tensor, size: float, bounds: Bounds) -> Tensor:
        """``x`` after the move of norm ``size`` that raises the linearised loss most; it may leave ball and box."""
        ...

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """``x`` brought into the ball around ``clean`` and into the box; points inside both stay as they are."""
        ...


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
        return _offset(a, b, self.scale).abs().amax(dim=1)

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int = 0) -> Tensor:
        """Every feature uniform in [-eps, eps]."""
        noise = rng.uniform((x[0].numel(),), step, low=-1.0, high=1.0).double() * self.eps
        return _place(noise, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float, bounds: Bounds) -> Tensor:
        """Every feature by ``size``, in the direction of its gradient's sign."""
        return x + _unit(x, self.scale) * gradient.sign() * size

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """Every feature clamped; this is the nearest point of ball and box."""
        offset = _offset(x, clean, self.scale).clamp(-self.eps, self.eps)
        return _place(offset, clean, bounds, self.scale)


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
        return _offset(a, b, self.scale).norm(dim=1)

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int = 0) -> Tensor:
        """A normal direction, with a radius that fills the ball."""
        features = x[0].numel()
        direction = _normalised(rng.normal((features,), step).double())
        radius = _stream(rng, "radius").uniform((1,), step).double() ** (1 / features)
        return _place(direction * radius * self.eps, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float, bounds: Bounds) -> Tensor:
        """Along the gradient."""
        unit = _unit(x, self.scale)
        direction = _normalised((gradient.double() * unit).flatten(1)).view(x.shape)
        return x + (unit * direction * size).to(x.dtype)

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """The nearest point of ball and box: what the box cuts off one feature is left for the others."""
        offset = _offset(x, clean, self.scale)
        low, high = _limits(clean, bounds, self.scale)
        size = _contracted(offset.abs(), torch.where(offset > 0, high, -low), self.eps)
        return _place(size * offset.sign(), clean, bounds, self.scale)


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
        return _offset(a, b, self.scale).abs().sum(dim=1)

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int = 0) -> Tensor:
        """Uniform on the cross-polytope."""
        features = x[0].numel()
        # d of d + 1 exponential spacings are uniform on the simplex; random signs spread it over the ball.
        spacing = -torch.log1p(-rng.uniform((features + 1,), step).double())
        share = spacing[:, :-1] / spacing.sum(dim=1, keepdim=True)
        sign = _stream(rng, "sign").bits((features,), step).sign()
        return _place(share * sign * self.eps, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float, bounds: Bounds) -> Tensor:
        """The steepest features one after another, each as far as the box goes, until ``size`` is spent."""
        unit = _unit(x, self.scale)
        slope = (gradient.double() * unit).flatten(1)
        low, high = _limits(x, bounds, self.scale)
        room = torch.where(slope > 0, high, -low) * (slope != 0)
        order = slope.abs().argsort(dim=1, descending=True, stable=True)
        room = room.gather(1, order)
        spent = room.cumsum(dim=1) - room
        move = torch.zeros_like(slope).scatter(1, order, torch.minimum(room, (size - spent).clamp_min(0)))
        return x + (unit * (move * slope.sign()).view(x.shape)).to(x.dtype)

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """The nearest point of ball and box."""
        offset = _offset(x, clean, self.scale)
        low, high = _limits(clean, bounds, self.scale)
        size = _shrunk(offset.abs(), torch.where(offset > 0, high, -low), self.eps)
        return _place(size * offset.sign(), clean, bounds, self.scale)


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

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int = 0) -> Tensor:
        """``k`` features at random, each uniform in the box."""
        features = x[0].numel()
        low, high = _limits(x, bounds, self.scale)
        chosen = _largest(_stream(rng, "features").uniform((features,), step), self.k)
        return _place((low + (high - low) * rng.uniform((features,), step)) * chosen, x, bounds, self.scale)

    def ascend(self, x: Tensor, gradient: Tensor, size: float, bounds: Bounds) -> Tensor:
        """Along the gradient, beyond the box; ``size`` plays no part."""
        unit = _unit(x, self.scale)
        slope = gradient.double() * unit
        steepest = slope.abs().flatten(1).amax(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
        low, high = bounds.tensors(x)
        span = ((high - low) / unit).max()
        direction = slope / steepest.view(-1, *[1] * (x.ndim - 1))
        return x + (unit * direction * span * self._reach).to(x.dtype)

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """The nearest point of ball and box; among equals the first features change."""
        offset = _offset(x, clean, self.scale)
        nearest = offset.clamp(*_limits(clean, bounds, self.scale))
        gain = offset**2 - (offset - nearest) ** 2
        return _place(nearest * _largest(gain, self.k), clean, bounds, self.scale)


_NORMS: dict[str, type] = {cls.norm: cls for cls in (Linf, L2, L1, L0)}


def threat(norm: str, eps: float, scale: Sequence[float] | None = None) -> Threat:
    """The threat model of a norm by name (linf, l2, l1, l0), with radius ``eps`` (for l0 the number of features).

    >>> threat("linf", 0.1)
    Linf(eps=0.1, scale=None)
    >>> threat(**as_dict(L0(5))) == L0(5)
    True
    """
    if norm.lower() not in _NORMS:
        raise unknown_name("norm", norm, _NORMS)
    return _NORMS[norm.lower()](eps, scale=None if scale is None else tuple(map(float, scale)))


def as_dict(threat: Threat) -> dict[str, Any]:
    """A threat model as JSON-able keywords of `threat`."""
    return {"norm": threat.norm, "eps": threat.eps, "scale": threat.scale and list(threat.scale)}


def feature_scale(task: Task, bounds: Bounds) -> tuple[float, ...] | None:
    """The customary unit of distance: a feature's range for tables (so that eps is a share of it), else 1."""
    if task != "tabular":
        return None
    return bounds.span if isinstance(bounds.span, tuple) else (bounds.span,)


def check_threat(threat: Threat, bounds: Bounds, input_shape: Sequence[int]) -> None:
    """Raise `InputError` if the ball is larger than the box of inputs of this shape (without the batch)."""
    shape = tuple(input_shape)
    if threat.scale is not None and len(threat.scale) not in (1, shape[-1]):
        raise InputError(f"expected a scale for each of {shape[-1]} features, got {len(threat.scale)}")
    low, high = (limit.expand(1, *shape) for limit in bounds.tensors(torch.zeros((), dtype=torch.float64)))
    largest = float(threat.distance(low, high))
    if threat.eps > largest * (1 + 1e-9):
        raise InputError(f"expected 0 < eps <= {largest:.6g}, the size of the box in {threat.norm}, got {threat.eps:g}")


def contains(threat: Threat, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
    """Whether each of ``x`` (n, ...) lies within eps + 1e-6 of ``clean`` and in the box: bool (n,)."""
    low, high = _box(clean, bounds)
    boxed = (x >= low) & (x <= high)
    return boxed.flatten(1).all(dim=1) & (threat.distance(x, clean) <= threat.eps + 1e-6)


def _check_fields(threat: Threat) -> None:
    if not 0 < threat.eps < math.inf:
        raise InputError(f"expected eps > 0 for {threat.norm}, got {threat.eps}")
    if threat.scale is not None and not all(0 < unit < math.inf for unit in threat.scale):
        raise InputError(f"expected a positive scale for every feature, got {threat.scale}")


def _unit(like: Tensor, scale: tuple[float, ...] | None) -> Tensor:
    return like.new_tensor(1.0 if scale is None else scale)


def _offset(x: Tensor, clean: Tensor, scale: tuple[float, ...] | None) -> Tensor:
    """The perturbation u (n, features), float64."""
    return ((x.double() - clean.double()) / _unit(x.double(), scale)).flatten(1)


def _box(clean: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Lowest and highest valid inputs (n, ...) that may be reached from the clean ones."""
    low, high = bounds.tensors(clean)
    return torch.minimum(low, clean), torch.maximum(high, clean)


def _limits(clean: Tensor, bounds: Bounds, scale: tuple[float, ...] | None) -> tuple[Tensor, Tensor]:
    """The box as seen from the clean input: the least u (<= 0) and the greatest (>= 0), (n, features), float64."""
    low, high = _box(clean, bounds)
    return _offset(low, clean, scale), _offset(high, clean, scale)


def _place(offset: Tensor, clean: Tensor, bounds: Bounds, scale: tuple[float, ...] | None) -> Tensor:
    """clean + scale * u clipped to the box, in the dtype of ``clean``, each feature rounded towards its clean value."""
    low, high = (limit.double() for limit in _box(clean, bounds))
    move = offset.view(clean.shape) * _unit(offset, scale)
    exact = torch.minimum(torch.maximum(clean.double() + move, low), high)
    x = exact.to(clean.dtype)
    beyond = (x.double() - clean.double()).abs() > (exact - clean.double()).abs() * (1 + 1e-12)
    return torch.where(beyond, torch.nextafter(x, clean), x)


def _normalised(vector: Tensor) -> Tensor:
    """Rows (n, features) of Euclidean length 1; a zero row stays zero."""
    return vector / vector.norm(dim=1, keepdim=True).clamp_min(torch.finfo(vector.dtype).tiny)


def _largest(values: Tensor, k: int) -> Tensor:
    """A mask (n, features) of the ``k`` largest values of each row; the first of equals."""
    order = values.argsort(dim=1, descending=True, stable=True)[:, :k]
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, order, True)


def _contracted(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """Sizes min(t * size, room) with the largest t <= 1 for which each row (n, features) is of length <= eps.

    Each round solves for t as if no more features reached their room than before; t only grows, so rounds are few.
    """
    outside = torch.minimum(size, room).norm(dim=1, keepdim=True) > eps
    t = torch.where(outside, eps / size.norm(dim=1, keepdim=True), 1)
    while True:
        full = t * size > room
        spent = torch.where(full, room, 0).square().sum(dim=1, keepdim=True)
        free = torch.where(full, 0, size).square().sum(dim=1, keepdim=True)
        larger = torch.where(outside, ((eps**2 - spent).clamp_min(0) / free).sqrt(), 1)
        if bool((larger <= t * (1 + 1e-14)).all()):
            return torch.minimum(t * size, room)
        t = torch.maximum(larger, t)


def _shrunk(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """Sizes min(max(size - t, 0), room) with the least t >= 0 for which each row (n, features) sums up to <= eps.

    That sum falls piecewise linearly in t: a feature begins to shrink at t = size - room and is gone at t = size.
    """
    begins, ends = (size - room).clamp_min(0), size
    knots, order = torch.cat([begins, ends], dim=1).sort(dim=1)
    slope = torch.cat([-torch.ones_like(size), torch.ones_like(size)], dim=1).gather(1, order).cumsum(dim=1)
    gap = torch.diff(knots, dim=1, prepend=torch.zeros_like(knots[:, :1]))
    before = torch.cat([torch.zeros_like(slope[:, :1]), slope[:, :-1]], dim=1)
    total = torch.minimum(size, room).sum(dim=1, keepdim=True)
    at_knot = total + (before * gap).cumsum(dim=1)
    first = (at_knot > eps).sum(dim=1, keepdim=True).clamp_max(knots.shape[1] - 1)
    excess = at_knot.gather(1, first) - eps
    cut = knots.gather(1, first) - excess / before.gather(1, first).clamp_max(-1)
    cut = torch.where(total > eps, cut, torch.zeros_like(cut))
    return torch.minimum((size - cut).clamp_min(0), room)


def _stream(rng: SampleRng, name: str) -> SampleRng:
    return replace(rng, stream=f"{rng.stream}/{name}")
