"""Objectives made of another one: its loss at raised weights, its perturbations at several radii."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, cast, get_args

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.rng import SampleRng
from xaibench.threats import Threat, as_dict
from xaibench.threats import threat as make_threat
from xaibench.training.objectives.base import (
    CONTINUOUS,
    Forward,
    Objective,
    Replaying,
    Restricted,
    TrainingLoss,
    objectives,
)
from xaibench.training.objectives.terms import check_continuous
from xaibench.types import Task

__all__ = ["AdversarialWeights", "EpsilonEnsemble"]


@objectives.register("awp")
@dataclass(frozen=True, kw_only=True)
class AdversarialWeights:
    """Another objective's loss at weights that were first moved up its gradient.

    Adversarial weight perturbation of Wu, Xia & Wang, *Adversarial weight perturbation helps robust generalization*
    (NeurIPS 2020): every kernel moves by ``gamma`` times its own norm, at the inputs that the objective perturbed
    before, and back after the backward pass. Batch norm learns from the pass at the moved weights alone. A step costs
    one pass forward and backward more.

    Args:
        objective: what is wrapped, as a spec such as ``trades:beta=6``.
        gamma: how far the weights move, relative to their norm.
        warmup: fraction of training before which nothing is moved.
    """

    objective: str = "pgd_at"
    gamma: float = 5e-3
    warmup: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.gamma < float("inf"):
            raise InputError(f"expected `gamma` > 0, got {self.gamma}")
        if not 0 <= self.warmup < 1:
            raise InputError(f"expected `warmup` >= 0 and < 1, got {self.warmup}")
        _ = self._inner

    @cached_property
    def _inner(self) -> Objective:
        return _inner(self.objective)

    @property
    def adversarial(self) -> bool:
        """Where the wrapped objective is."""
        return self._inner.adversarial

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those of the wrapped objective."""
        return self._inner.tasks if isinstance(self._inner, Restricted) else get_args(Task)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """Those of the wrapped objective."""
        return self._inner.perturb(forward, x, y)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        if forward.progress > self.warmup:
            forward.ascend_weights(lambda: self._inner.loss(forward, x, perturbed, y).loss, self.gamma)
        return self._inner.loss(forward, x, perturbed, y)


@objectives.register("epsilon_ensemble")
@dataclass(frozen=True, kw_only=True)
class EpsilonEnsemble:
    """Another objective with a radius for each sample, drawn anew in every step from fractions of the threat's.

    With the threat's warm-up all of them grow together, as in the curricula of Cai, Liu & Song, *Curriculum adversarial
    training* (IJCAI 2018). A fraction of 0 leaves the sample clean.

    Args:
        objective: what is wrapped, an adversarial objective as a spec.
        fractions: shares of the radius, each drawn equally often.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    objective: str = "pgd_at"
    fractions: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 <= share <= 1 for share in self.fractions) or not any(self.fractions):
            raise InputError(f"expected `fractions` between 0 and 1, not all 0, got {self.fractions}")
        if not self._inner.adversarial:
            raise InputError(f"expected an adversarial `objective` for radii, got {self.objective!r}")

    @cached_property
    def _inner(self) -> Objective:
        return _inner(self.objective)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """Those of the wrapped objective for each group of samples with the same radius."""
        check_continuous(x)
        perturbed = x.clone()
        for share, rows in self._groups(forward):
            if share and len(rows):
                threat = forward.threat
                smaller = make_threat(**{**as_dict(threat), "eps": share * threat.eps})
                group = _Group(forward, replace(forward.rng, ids=forward.rng.ids[rows]), smaller)
                perturbed[rows] = self._inner.perturb(cast(Forward, group), x[rows], y[rows])
        return perturbed

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        return self._inner.loss(forward, x, perturbed, y)

    def _groups(self, forward: Forward) -> Iterator[tuple[float, Tensor]]:
        """Each fraction, and the samples (m,) that drew it."""
        drawn = replace(forward.rng, stream=f"{forward.rng.stream}/radius").uniform((1,))[:, 0]
        choice = (drawn * len(self.fractions)).long()
        for index, share in enumerate(self.fractions):
            yield share, torch.nonzero(choice == index)[:, 0]


@dataclass(frozen=True)
class _Group:
    """A `Forward` for some samples of the batch, with a radius of their own."""

    whole: Forward
    rng: SampleRng
    threat: Threat

    def __getattr__(self, name: str) -> Any:
        return getattr(self.whole, name)


def _inner(spec: str) -> Objective:
    """The wrapped objective; one that takes several steps on a batch does not fit a wrapper that sees one."""
    made = objectives.create(spec)
    if isinstance(made, Replaying):
        raise InputError(f"expected an `objective` of one step for each batch to wrap, got {spec!r}")
    return made
