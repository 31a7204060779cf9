"""What the training loop asks of a framework, and what both frameworks' answers share."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from xaibench.classifiers.interface import Options
from xaibench.classifiers.outputs import two_columns
from xaibench.errors import InputError
from xaibench.threats import Threat
from xaibench.training.objectives import Objective, TrainingLoss
from xaibench.types import Bounds, Classifier

__all__ = [
    "Learner",
    "Normalisation",
    "StepResult",
    "as_outputs",
    "classifier_options",
    "given",
    "is_decayed",
    "numbers",
]


@dataclass(frozen=True)
class Normalisation:
    """Inputs in input units to what a network takes; ``mean`` and ``std`` broadcast, None changes nothing."""

    mean: Tensor | None = None
    std: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.mean is None or self.std is None:
            return x
        return (x - self.mean.to(x.device)) / self.std.to(x.device)


@dataclass
class StepResult:
    """Summed loss, and correct predictions out of ``count``, over samples seen in training."""

    loss: float = 0.0
    correct: int = 0
    count: int = 0

    def add(self, result: TrainingLoss, y: Tensor) -> None:
        """Count a batch."""
        self.loss += float(result.loss.detach()) * len(y)
        self.correct += int((result.logits.detach().argmax(1) == y).sum())
        self.count += len(y)


class Learner(Protocol):
    """A network with its optimiser and its moving average, in one framework.

    `state` and `load_state` hold all that later steps depend on, so that a resumed run continues exactly.
    """

    weights_file: str

    @property
    def is_main(self) -> bool:
        """Whether this process writes files; the others, one a device, only compute."""
        ...

    def wait(self) -> None:
        """Return when all processes have come here."""
        ...

    def step(
        self,
        batches: list[tuple[Tensor, Tensor]],
        objective: Objective,
        *,
        rate: float,
        seed: int,
        progress: float = 1.0,
        threat: Threat | None = None,
    ) -> StepResult:
        """One step on the mean loss over ``batches`` (inputs in input units, labels), shared by all processes.

        ``seed`` is for random layers and objectives; ``progress``, in (0, 1], is how far training has come; ``threat``
        is what adversarial objectives train against now.
        """
        ...

    def agreed(self, figures: dict[str, Any]) -> dict[str, Any]:
        """The first process's figures, in all of them, so that all decide alike."""
        ...

    @property
    def classifier(self) -> Classifier:
        """The network with the weights of now, as every analysis sees one; it follows them."""
        ...

    def averaged(self) -> AbstractContextManager[Classifier]:
        """The same with the averaged weights for the length of a block, where an average is kept."""
        ...

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, classes) in evaluation mode, by the averaged weights where an average is kept."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights and buffers: the averaged ones where an average is kept."""
        ...

    def load_weights(self, weights: Mapping[str, Tensor]) -> None: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, state: Mapping[str, Tensor]) -> None: ...

    def save(self, path: Path) -> None:
        """Write the weights as a file that `xaibench.load_model` reads."""
        ...


def is_decayed(shape: tuple[int, ...]) -> bool:
    """Whether weight decay applies: to matrices and kernels, not to biases and normalisation parameters."""
    return len(shape) >= 2


def as_outputs(logits: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Network outputs, the logits of a single unit widened to a pair as every classifier does."""
    return (two_columns(logits, len(logits)), *others)


def classifier_options(normalise: Normalisation, bounds: Bounds, options: Mapping[str, Any]) -> Options:
    """Options of the classifier over a network in training: ``options``, and what the learner knows itself."""
    own = {"bounds": bounds, "mean": numbers(normalise.mean), "std": numbers(normalise.std), "outputs": "logits"}
    return Options(**{**own, **options})  # type: ignore[typeddict-item]


def given(threat: Threat | None) -> Threat:
    """The threat of a step; `InputError` where the recipe names none."""
    if threat is None:
        raise InputError("expected a threat to train against, such as linf and eps, got none")
    return threat


def numbers(values: Tensor | None) -> tuple[float, ...] | None:
    """A mean or deviation as the numbers of a card."""
    return None if values is None else tuple(values.flatten().tolist())
