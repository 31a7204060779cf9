"""A classifier as Foolbox sees it, tensors that draw their random numbers by sample, and one run of an attack.

This module imports Foolbox; `xaibench.attacks.foolbox.frame` imports it when an attack runs, not before.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xaibench.attacks.foolbox.frame import Draws, Entry
from xaibench.rng import SampleRng
from xaibench.types import Classifier

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Foolbox imports scipy by names that are gone soon
    import eagerpy as ep
    import foolbox

    from xaibench.attacks.foolbox import mended

__all__ = ["Samples", "UnitCube", "run", "seeded"]

_ORDERS = {"l0": 0, "l1": 1, "l2": 2, "linf": float("inf")}


class UnitCube(foolbox.models.Model):
    """Logits of a classifier as a function of inputs mapped to [0, 1] in each feature.

    Batches are filled up to a ``multiple`` of rows.
    """

    data_format = "channels_first"

    def __init__(self, model: Classifier, like: Tensor, multiple: int) -> None:
        self._model, self._multiple = model, multiple
        self._low, high = model.bounds.tensors(like)
        self._span = high - self._low

    @property
    def bounds(self) -> foolbox.types.Bounds:
        """Of the unit cube."""
        return foolbox.types.Bounds(0.0, 1.0)

    def inside(self, x: Tensor) -> Tensor:
        """Inputs (n, ...) as points of the unit cube, float32; what lies outside the box is moved to its border."""
        return ((x - self._low) / self._span).float().clamp(0, 1)

    def outside(self, point: Tensor) -> Tensor:
        """The inputs that points of the unit cube stand for."""
        return self._low + self._span * point.to(self._low.dtype)

    def __call__(self, inputs: Any) -> Any:
        """Logits (n, classes), float32; what is no number (a step along a zero gradient) counts as 0."""
        points, restore = ep.astensor_(inputs)
        x = self.outside(points.raw.nan_to_num(0.0, 0.0, 0.0))
        padding = x[:1].expand(-len(x) % self._multiple, *x.shape[1:])
        logits = self._model.logits(torch.cat([x, padding]))[: len(x)]
        # A constant of the sample changes no difference of logits, and keeps their exponentials finite.
        return restore(type(points)(logits.float() - logits.detach().float().amax(dim=1, keepdim=True)))


def seeded(rng: SampleRng, draws: Draws) -> type[ep.PyTorchTensor]:
    """A class of tensors whose normal and uniform numbers come from ``rng``, one step a draw."""
    steps = itertools.count()
    if draws == "shared":
        rng = replace(rng, ids=torch.zeros_like(rng.ids[:1]))

    def draw(kind: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        step = next(steps)
        if draws == "each":
            return kind(shape[1:], step)
        if draws == "inner":
            return kind((shape[0], *shape[2:]), step).transpose(0, 1)
        return kind(shape, step)[0]

    class Seeded(ep.PyTorchTensor):
        """Draws from ``rng``."""

        __slots__ = ()

        def normal(self, shape: Any, mean: float = 0.0, stddev: float = 1.0) -> Any:
            return type(self)(draw(rng.normal, tuple(shape)).to(self.raw.device) * stddev + mean)

        def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0) -> Any:
            return type(self)(draw(rng.uniform, tuple(shape)).to(self.raw.device) * (high - low) + low)

    return Seeded


class Samples(NamedTuple):
    """What is to be attacked."""

    model: Classifier
    clean: Tensor
    """(n, ...), correctly classified."""
    labels: Tensor
    """(n,)."""
    rng: SampleRng


def run(entry: Entry, parameters: Mapping[str, Any], samples: Samples, *, norm: str, eps: float) -> Tensor:
    """What an attack finds for ``samples``, anywhere in the box, (n, ...); the clean row where it finds nothing.

    ``eps`` is the radius in the unit cube.
    """
    model, clean, labels, rng = samples
    # Most kernels give a row the same bits at all multiples of 16.
    cube = UnitCube(model, clean, multiple=16)
    points = cube.inside(clean)
    starts, left = points, torch.arange(len(points), device=points.device)
    if entry.start:
        initial = replace(rng, stream=f"{rng.stream}/start")
        starts = _found(_maker(entry.start)(), cube, points, labels, seeded(initial, "each"))
        left = left[model.predict(cube.outside(starts)) != labels]
    if entry.draws == "alone":
        cube = UnitCube(model, clean, multiple=1)
    found = points.clone()
    for rows in left.split(1 if entry.draws == "alone" else max(len(left), 1)) if len(left) else ():
        tensor = seeded(replace(rng, ids=rng.ids[rows]), entry.draws)
        attack, options = _attack(entry, parameters, norm, eps)
        if entry.start:
            options["starting_points"] = tensor(starts[rows])
        found[rows] = _found(attack, cube, points[rows], labels[rows], tensor, targeted=entry.targeted, **options)
    # What did not move is given back as it came, not as it is after two roundings.
    moved = found.isfinite() & (found != points)
    return torch.where(moved, cube.outside(found.nan_to_num(0.0)).to(clean.dtype), clean)


def _attack(entry: Entry, parameters: Mapping[str, Any], norm: str, eps: float) -> tuple[Any, dict[str, Any]]:
    """An attack of Foolbox, and what it is to be run with."""
    make = _maker(entry.by_norm[norm])
    arguments = {entry.renamed.get(key, key): value for key, value in {**parameters, **entry.fixed}.items()}
    if "distance" in inspect.signature(make).parameters:
        arguments["distance"] = foolbox.distances.LpDistance(_ORDERS[norm])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an optimiser is compiled on its first use
        attack = make(**arguments)
    fixed_size = isinstance(attack, foolbox.attacks.base.FixedEpsilonAttack)
    return attack, {"epsilon": eps} if fixed_size else {}


def _found(
    attack: Any,
    cube: UnitCube,
    points: Tensor,
    labels: Tensor,
    tensor: type[ep.PyTorchTensor],
    *,
    targeted: bool = False,
    **options: Any,
) -> Tensor:
    """Points of the unit cube (n, ...)."""
    criterion = foolbox.criteria.Misclassification(tensor(labels))
    if targeted:
        runner_up = cube(points).scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
        criterion = foolbox.criteria.TargetedMisclassification(tensor(runner_up))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of divisions by zero, and of starts not found: the callers look at what is
        found: Tensor = attack.run(cube, tensor(points), criterion, **options).raw
    return found.detach()


def _maker(name: str) -> Any:
    return getattr(mended, name, None) or getattr(foolbox.attacks, name)
