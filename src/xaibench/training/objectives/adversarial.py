"""Training on adversarial inputs only: found by projected gradient ascent, or by any attack."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, get_args

from torch import Tensor

from xaibench.attacks import Attack, attacks
from xaibench.attacks.base import attacks_for
from xaibench.training.objectives.ascent import SummedCrossEntropy, ascended, check_steps, random_point
from xaibench.training.objectives.base import CONTINUOUS, Forward, TrainingLoss, objectives
from xaibench.training.objectives.terms import check_continuous, check_label_smoothing, cross_entropy_at
from xaibench.types import Task

__all__ = ["AttackTraining", "PGDTraining"]


@objectives.register("pgd_at")
@dataclass(frozen=True, kw_only=True)
class PGDTraining:
    """Cross entropy at the end of a projected gradient ascent of it: the model trains on adversarial inputs only.

    Madry et al., *Towards deep learning models resistant to adversarial attacks* (ICLR 2018). Label smoothing after
    Pang et al., *Bag of tricks for adversarial training* (ICLR 2021): up to 0.2 helps.

    Args:
        steps: gradient steps, at least 1.
        step_size: length of a step as a fraction of the radius; 2.5 / ``steps`` if not given.
        random_start: begin at a random point of the ball, instead of the training input.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_steps(self.steps, self.step_size)
        check_label_smoothing(self.label_smoothing)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of the ascent."""
        check_continuous(x)
        start = random_point(forward, x) if self.random_start else x
        return ascended(forward, x, SummedCrossEntropy(y), start=start, steps=self.steps, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        return cross_entropy_at(forward, perturbed, y, self.label_smoothing)


@objectives.register("adversarial")
@dataclass(frozen=True, kw_only=True)
class AttackTraining:
    """Cross entropy at what an attack of `xaibench.attacks` finds against the model of now.

    An attack answers with an adversarial example where it succeeds and with the clean input where it does not, so the
    model trains on the inputs that are broken now and, cleanly, on all others: less pressure than `pgd_at`, which
    trains on the worst point found of every input. Attacks always see the model in evaluation mode. Attacks on text
    are trained against with a threat of words.

    Args:
        attack: the attack as a spec, such as ``apgd_ce:steps=10``.
        label_smoothing: share of the target that is spread over all classes.
    """

    adversarial: ClassVar[bool] = True
    attack: str = "apgd_ce:steps=10"
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_label_smoothing(self.label_smoothing)
        _ = self._search  # an attack that does not exist is said now

    @cached_property
    def _search(self) -> Attack:
        return attacks.create(self.attack)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those of the attack."""
        return tuple(task for task in get_args(Task) if self._search.name in attacks_for(task))

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """What the attack returns."""
        rng = forward.rng
        return self._search(forward.classifier, x, y, forward.threat, ids=rng.ids, seed=rng.seed)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`."""
        return cross_entropy_at(forward, perturbed, y, self.label_smoothing)
