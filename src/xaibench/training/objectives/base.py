"""What every training objective is: a disturbance of the batch, and a loss there, written once over torch tensors."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple, Protocol, get_args, runtime_checkable

from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.registry import Registry
from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.types import Bounds, Classifier, Task

__all__ = [
    "CONTINUOUS",
    "Forward",
    "Measuring",
    "Objective",
    "Replaying",
    "Restricted",
    "TrainingLoss",
    "needs_one_batch",
    "needs_task",
    "needs_threat",
    "objectives",
    "objectives_for",
]


class Forward(Protocol):
    """The network being trained, as one batch of one step sees it; inputs are in input units, or token ids."""

    @property
    def bounds(self) -> Bounds:
        """The box of valid inputs."""
        ...

    @property
    def progress(self) -> float:
        """Steps begun out of all, in (0, 1]."""
        ...

    @property
    def rng(self) -> SampleRng:
        """Random numbers for the rows of this batch, others in every batch."""
        ...

    @property
    def threat(self) -> Threat:
        """What the recipe trains against, with the radius of this step: it grows during the threat's warm-up.

        `InputError` where the recipe names none.
        """
        ...

    @property
    def memory(self) -> MutableMapping[str, Tensor]:
        """Tensors that live on to the next batch; checkpoints hold them."""
        ...

    @property
    def classifier(self) -> Classifier:
        """The network with the weights of now, as attacks see one; it follows them."""
        ...

    def __call__(self, x: Tensor, *, shift: Tensor | None = None) -> tuple[Tensor, ...]:
        """All outputs, logits (n, classes) first, in training mode.

        They are differentiable towards the weights, and towards ``x`` and ``shift`` where those require gradients.
        ``shift`` (n, length, dimension) is added to the embeddings of token ids ``x``.
        """
        ...

    def evaluate(self, x: Tensor) -> Tensor:
        """Logits (n, classes) in the mode of attacks (evaluation, unless the recipe says otherwise), no gradients."""
        ...

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings (n, length, dimension) of token ids, without gradients."""
        ...

    def input_gradient(
        self,
        x: Tensor,
        loss: Callable[[Tensor], Tensor],
        *,
        shift: Tensor | None = None,
        differentiable: bool = False,
    ) -> Tensor:
        """The gradient towards ``x``, or ``shift`` where given, of a scalar ``loss`` of the logits (n, classes).

        It is taken in the mode of attacks, so that batch norm neither mixes samples nor learns from these inputs;
        nothing is added to the gradients of the weights. With ``differentiable`` it can itself be differentiated
        towards the weights.
        """
        ...

    def ascend_weights(self, loss: Callable[[], Tensor], gamma: float) -> None:
        """Move the weights up the gradient of ``loss()`` until this batch's backward pass is over.

        Every tensor of two or more dimensions moves by ``gamma`` times its own norm. Batch norm's statistics stay as
        they were before ``loss()``.
        """
        ...


class TrainingLoss(NamedTuple):
    """A scalar to reduce, and the logits (n, classes) that it was computed from."""

    loss: Tensor
    logits: Tensor


class Objective(Protocol):
    """What the weights are moved to reduce, over a batch ``x`` (input units or token ids) of classes ``y`` (n,).

    A step is ``objective.loss(forward, x, objective.perturb(forward, x, y), y)``. The two are apart so that other
    objectives can be made of them: weight perturbation raises the same loss at the same inputs first.
    """

    @property
    def adversarial(self) -> bool:
        """Whether `Forward.threat` is needed; a class variable where that is always so or never."""
        ...

    def perturb(self, forward: Forward, x: Tensor, y: Tensor) -> Tensor:
        """The inputs to train on, in the shape of ``x``, without gradients."""
        ...

    def loss(self, forward: Forward, x: Tensor, perturbed: Tensor, y: Tensor) -> TrainingLoss:
        """The loss at the perturbed inputs, its mean taken over the batch."""
        ...


@runtime_checkable
class Replaying(Protocol):
    """An objective that takes several optimiser steps on each batch in a row."""

    @property
    def replays(self) -> int: ...


@runtime_checkable
class Restricted(Protocol):
    """An objective that not every kind of data fits; without ``tasks`` it takes all."""

    @property
    def tasks(self) -> tuple[Task, ...]: ...


@runtime_checkable
class Measuring(Protocol):
    """An objective with figures of its own to measure on the trained model."""

    def measure(self, model: Classifier, train: Callable[[], Data], test: Data) -> dict[str, float]:
        """Figures on the test data beyond those of a classifier; ``train`` loads the training data."""
        ...


objectives: Registry[Objective] = Registry("objective")

CONTINUOUS: tuple[Task, ...] = ("image", "tabular")
"""Data that a gradient moves, or noise blurs."""


def objectives_for(task: Task) -> tuple[str, ...]:
    """Names of the objectives that fit a kind of data, those made of others as they are by default."""
    return tuple(name for name in objectives if task in _tasks_of_class(objectives.get(name)))


def _tasks_of_class(cls: Any) -> tuple[Task, ...]:
    tasks = getattr(cls, "tasks", get_args(Task))
    return cls().tasks if isinstance(tasks, property) else tasks


def needs_task(objective: Any, task: Task) -> None:
    """Refuse data of a kind that the objective is not for, naming the objectives that fit."""
    if isinstance(objective, Restricted) and task not in objective.tasks:
        fits, known = " and ".join(objective.tasks) or "no", ", ".join(objectives_for(task))
        raise InputError(f"expected an objective for {task} data ({known}), got {objective.name}, for {fits} data")  # type: ignore[attr-defined]  # registered


def needs_threat(objective: Any, threat: object) -> None:
    """Refuse an adversarial objective without a threat."""
    if objective.adversarial and threat is None:
        raise InputError(f"expected a threat to train against with {objective.name}, such as linf and eps, got none")


def needs_one_batch(objective: Any, accumulate: int) -> None:
    """Refuse to replay several batches as one step: each would go on from the perturbation of another."""
    if isinstance(objective, Replaying) and accumulate > 1:
        raise InputError(f"expected `accumulate` = 1 with {objective.name}, which replays each batch, got {accumulate}")  # type: ignore[attr-defined]  # registered
