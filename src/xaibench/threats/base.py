"""The protocol of threat models, and what can be said of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats.geometry import box
from xaibench.types import Bounds, Task

__all__ = ["Ruled", "Threat", "as_dict", "check_threat", "contains", "feature_scale"]


class Threat(Protocol):
    """A ball around each clean input, in input units divided by ``scale`` (per feature, along the last dimension)."""

    @property
    def norm(self) -> str:
        """Its name, as `xaibench.threats.threat` takes it."""
        ...

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

    def sample(self, rng: SampleRng, x: Tensor, bounds: Bounds, step: int | Tensor = 0) -> Tensor:
        """Points drawn uniformly from the balls around ``x`` (n, ...), then moved into the box."""
        ...

    def ascend(self, x: Tensor, gradient: Tensor, size: float | Tensor, bounds: Bounds) -> Tensor:
        """``x`` after the move of norm ``size`` (one, or (n,)) that raises the linearised loss most.

        It may lead out of ball and box.
        """
        ...

    def project(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """``x`` brought into the ball around ``clean`` and into the box; points inside both stay as they are."""
        ...


@runtime_checkable
class Ruled(Protocol):
    """A threat model with rules beyond a ball and the box: it says itself what it allows."""

    @property
    def options(self) -> dict[str, Any]:
        """The rules, as JSON-able keywords of `threat`."""
        ...

    def check(self, bounds: Bounds, input_shape: Sequence[int]) -> None:
        """Raise `InputError` if the threat does not fit inputs of this shape (without the batch)."""
        ...

    def contains(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """Whether each of ``x`` (n, ...) is allowed for its clean input: bool (n,)."""
        ...


def as_dict(threat: Threat) -> dict[str, Any]:
    """A threat model as JSON-able keywords of `threat`."""
    ball = {"norm": threat.norm, "eps": threat.eps, "scale": threat.scale and list(threat.scale)}
    return {**ball, **threat.options} if isinstance(threat, Ruled) else ball


def feature_scale(task: Task, bounds: Bounds) -> tuple[float, ...] | None:
    """The customary unit of distance: a feature's range for tables (so that eps is a share of it), else 1."""
    if task != "tabular":
        return None
    return bounds.span if isinstance(bounds.span, tuple) else (bounds.span,)


def check_threat(threat: Threat, bounds: Bounds, input_shape: Sequence[int]) -> None:
    """Raise `InputError` if the ball is larger than the box of inputs of this shape (without the batch)."""
    if not hasattr(threat, "project"):
        raise InputError(f"expected a threat such as Linf(0.03), got {threat!r}")
    if isinstance(threat, Ruled):
        threat.check(bounds, input_shape)
        return
    shape = tuple(input_shape)
    if threat.scale is not None and len(threat.scale) not in (1, shape[-1]):
        raise InputError(f"expected a scale for each of {shape[-1]} features, got {len(threat.scale)}")
    low, high = (limit.expand(1, *shape) for limit in bounds.tensors(torch.zeros((), dtype=torch.float64)))
    largest = float(threat.distance(low, high))
    if threat.eps > largest * (1 + 1e-9):
        raise InputError(f"expected 0 < eps <= {largest:.6g}, the size of the box in {threat.norm}, got {threat.eps:g}")


def contains(threat: Threat, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
    """Whether each of ``x`` (n, ...) lies within eps + 1e-6 of ``clean`` and in the box: bool (n,)."""
    if isinstance(threat, Ruled):
        return threat.contains(x, clean, bounds)
    low, high = box(clean, bounds)
    boxed = (x >= low) & (x <= high)
    return boxed.flatten(1).all(dim=1) & (threat.distance(x, clean) <= threat.eps + 1e-6)
