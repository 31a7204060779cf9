"""Checks of attacks in other balls: all of the box, half the radius, double the radius."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import ClassVar

from xaibench import threats
from xaibench.attacks import PGD
from xaibench.checks.base import Case, Outcome, checks, graded
from xaibench.checks.rematches import broken_by, check_task
from xaibench.errors import UnsupportedError
from xaibench.threats import Threat, as_dict
from xaibench.threats.base import Ruled
from xaibench.types import Capability, require

__all__ = ["Monotonicity", "UnboundedAttack"]


@checks.register("unbounded_attack")
@dataclass(frozen=True, kw_only=True)
class UnboundedAttack:
    """Whether an attack fails on any point although it may change it to anything in the box.

    Athalye et al. (ICML 2018). The attack starts from the clean points, for random points of the box are misclassified
    anyway. What steps of the threat's own norm leave is attacked along the gradient itself, in L2: signs lead past
    small regions of a table of few features. The figure is the share of points left; it fails above ``grave``.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 16
    steps: int = 20
    limit: float = 0.0
    grave: float = 0.1

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        check_task(case)
        require(case.model, self.name, Capability.GRADIENTS)
        if isinstance(case.threat, Ruled):
            raise UnsupportedError("rules keep inputs from being changed to anything in the box")
        rows = case.some(case.correct, self.samples)
        attack = PGD(steps=self.steps, random_start=False, loss="margin")
        broken = broken_by(case, rows, attack, threat=_whole_box(case))
        left = (~broken).nonzero().flatten()
        if len(left) and case.threat.norm != "l2":
            along = replace(case, threat=threats.threat(norm="l2", eps=case.threat.eps, scale=case.threat.scale))
            broken[left] = broken_by(along, rows[left], attack, threat=_whole_box(along))
        figure = 1 - float(broken.double().mean())
        status = graded(figure, self.limit, self.grave)
        return Outcome(
            check=self.name,
            status=status,
            figure=figure,
            limit=self.limit,
            advice="Where any change is allowed, every attack succeeds."
            if status == "pass"
            else "An attack fails even where any change is allowed, so attacks do not work on this model.",
        )


@checks.register("monotonicity")
@dataclass(frozen=True, kw_only=True)
class Monotonicity:
    """Whether robust accuracy rises when epsilon rises.

    Carlini et al. (2019). The figure is the largest rise from half of epsilon to epsilon and to its double, for PGD of
    ``steps`` steps with the same seed; it fails above ``grave``.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 16
    steps: int = 10
    limit: float = 0.07
    grave: float = 0.25

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        check_task(case)
        require(case.model, self.name, Capability.GRADIENTS)
        if case.threat.norm == "l0" or isinstance(case.threat, Ruled):
            raise UnsupportedError("it halves and doubles the radius of plain balls of linf, l2 and l1")
        rows = case.some(case.correct, self.samples)
        largest = _whole_box(case).eps
        radii = [min(case.threat.eps * factor, largest) for factor in (0.5, 1.0, 2.0)]
        attack = PGD(steps=self.steps, loss="margin")
        robust = [
            float((~broken_by(case, rows, attack, threat=_resized(case.threat, eps))).double().mean()) for eps in radii
        ]
        figure = max(after - before for before, after in itertools.pairwise(robust))
        status = graded(figure, self.limit, self.grave)
        return Outcome(
            check=self.name,
            status=status,
            figure=figure,
            limit=self.limit,
            advice="Robust accuracy does not rise with epsilon."
            if status == "pass"
            else "Larger changes fool the model less often, which no working attack would find.",
        )


def _whole_box(case: Case) -> Threat:
    """The threat enlarged until it holds the box of inputs."""
    low, high = (limit.expand_as(case.x[:1]) for limit in case.model.bounds.tensors(case.x[:1].double()))
    size = float(case.threat.distance(low, high))
    return _resized(case.threat, size if case.threat.norm == "l0" else math.nextafter(size, 0))


def _resized(threat: Threat, eps: float) -> Threat:
    return threats.threat(**{**as_dict(threat), "eps": eps})
