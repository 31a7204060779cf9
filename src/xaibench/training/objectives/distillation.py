"""Distillation: a student learns the outputs of a trained teacher."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.training.objectives.ascent import SummedCrossEntropy, ascended, check_steps
from xaibench.training.objectives.base import CONTINUOUS, Forward, TrainingLoss, objectives
from xaibench.types import Classifier, Task
from xaibench.zoo import load_model

__all__ = ["Distillation", "RobustDistillation"]


@objectives.register("distillation")
@dataclass(frozen=True, kw_only=True)
class Distillation:
    """The divergence from a teacher's softened probabilities, and cross entropy.

    Hinton, Vinyals & Dean, *Distilling the knowledge in a neural network* (NIPS workshop 2014).

    Args:
        teacher: a model, by name or folder, for the same inputs and classes; for text, with the same words.
        temperature: what both networks' logits are divided by.
        alpha: share of the divergence in the loss; cross entropy has the rest.
    """

    adversarial: ClassVar[bool] = False
    teacher: str
    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        _check(self.temperature, self.alpha)

    @cached_property
    def _teacher(self) -> Classifier:
        return load_model(self.teacher)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The inputs as they are."""
        return x

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`; the teacher sees the student's inputs."""
        logits = forward(perturbed)[0]
        told = _told(self._teacher, forward, perturbed)
        divergence = _divergence(told, logits, self.temperature)
        return TrainingLoss(self.alpha * divergence + (1 - self.alpha) * F.cross_entropy(logits, y), logits)


@objectives.register("robust_distillation")
@dataclass(frozen=True, kw_only=True)
class RobustDistillation:
    """The divergence of the student on adversarial inputs from the teacher on clean ones, and clean cross entropy.

    Goldblum et al., *Adversarially robust distillation* (AAAI 2020), equation 4.

    Args:
        teacher: a model, by name or folder, for the same inputs and classes, itself robust.
        temperature: what both networks' logits are divided by.
        alpha: share of the divergence in the loss; cross entropy has the rest.
        steps: gradient steps of the attack on the student.
        step_size: length of a step as a fraction of the radius; 2.5 / steps if None.
    """

    adversarial: ClassVar[bool] = True
    tasks: ClassVar[tuple[Task, ...]] = CONTINUOUS
    teacher: str
    temperature: float = 4.0
    alpha: float = 0.9
    steps: int = 10
    step_size: float | None = None

    def __post_init__(self) -> None:
        _check(self.temperature, self.alpha)
        check_steps(self.steps, self.step_size)

    @cached_property
    def _teacher(self) -> Classifier:
        return load_model(self.teacher)

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The end of an ascent of the student's cross entropy from a random point."""
        start = forward.threat.sample(forward.rng, x, forward.bounds)
        return ascended(forward, x, SummedCrossEntropy(y), start=start, steps=self.steps, step_size=self.step_size)

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """See `Objective`; clean and adversarial inputs go through the network as one batch."""
        clean, moved = forward(torch.cat([x, perturbed]))[0].chunk(2)
        divergence = _divergence(_told(self._teacher, forward, x), moved, self.temperature)
        return TrainingLoss(self.alpha * divergence + (1 - self.alpha) * F.cross_entropy(clean, y), moved)


def _check(temperature: float, alpha: float) -> None:
    if not temperature > 0:
        raise InputError(f"expected `temperature` > 0, got {temperature}")
    if not 0 <= alpha <= 1:
        raise InputError(f"expected `alpha` >= 0 and <= 1, got {alpha}")


def _told(teacher: Classifier, forward: Forward, x: Tensor) -> Tensor:
    """Logits (n, classes) of a teacher that fits the student."""
    student = forward.classifier
    if (teacher.num_classes, teacher.task) != (student.num_classes, student.task):
        raise InputError(
            f"expected a teacher of {student.task} inputs in {student.num_classes} classes, got one of {teacher.task}"
            f" inputs in {teacher.num_classes}"
        )
    if student.task == "text" and teacher.vocabulary.words != student.vocabulary.words:
        raise InputError("expected a teacher with the vocabulary of the student, got another")
    with torch.no_grad():
        return teacher.to(x.device).logits(x)


def _divergence(told: Tensor, learned: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) of softened probabilities, times the temperature squared: so gradients keep their size."""
    target, own = ((logits / temperature).log_softmax(1) for logits in (told, learned))
    return F.kl_div(own, target, reduction="batchmean", log_target=True) * temperature**2
