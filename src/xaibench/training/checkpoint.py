"""What a run needs to go on as if it had never stopped, in one file that is replaced whole."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from xaibench.errors import InputError, first_line
from xaibench.files import atomic_path
from xaibench.training.learner import Learner, StepResult

__all__ = ["Checkpoint", "Kept", "Position", "saving"]

_FILE = "checkpoint.safetensors"


@dataclass
class Position:
    """Where a run stands: the next step of an epoch, what the epoch has summed up, and the epochs before."""

    epoch: int = 0
    step: int = 0
    best_score: float | None = None
    best_epoch: int = 0
    stale: int = 0
    stopped: bool = False
    seconds: float = 0.0
    log_bytes: int = 0
    loss: float = 0.0
    correct: int = 0
    count: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rewinds(self) -> int:
        """How often the run went back to its best epoch."""
        return sum("rewound_to" in line for line in self.history)

    def add(self, result: StepResult) -> None:
        """Count a step."""
        self.loss, self.correct = self.loss + result.loss, self.correct + result.correct
        self.count += result.count

    def total(self) -> StepResult:
        """The sums over the epoch so far."""
        return StepResult(self.loss, self.correct, self.count)

    def next_epoch(self, line: dict[str, Any]) -> None:
        """Close an epoch with its figures."""
        self.history.append(line)
        self.epoch, self.step = self.epoch + 1, 0
        self.loss, self.correct, self.count = 0.0, 0, 0


@dataclass
class Kept:
    """Tensors of the best epoch: its weights, and the learner's whole state where a run may go back to it."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)


class Checkpoint:
    """One safetensors file with the learner's state, what is kept of the best epoch, and the position in its header."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / _FILE
        self._saved = time.monotonic()

    def age(self) -> float:
        """Seconds since this process last wrote it, or began."""
        return time.monotonic() - self._saved

    def save(self, position: Position, state: Mapping[str, Tensor], kept: Kept) -> None:
        """Replace the file at once; where it cannot be written `InputError`, and the one before stays."""
        from safetensors.torch import save_file

        parts = {"learner": state, "best": kept.weights, "rewind": kept.state}
        tensors = {f"{part}.{key}": value for part, values in parts.items() for key, value in values.items()}
        with saving(self.path), atomic_path(self.path) as temporary:
            save_file(tensors, temporary, metadata={"position": json.dumps(asdict(position))})
        self._saved = time.monotonic()

    def load(self, learner: Learner) -> tuple[Position, Kept]:
        """Bring a learner to where the run stood."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.path, "pt") as file:
                position = Position(**json.loads(file.metadata()["position"]))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # the file is no mapping
        except (SafetensorError, KeyError, TypeError) as error:
            raise InputError(f"expected a checkpoint in {self.path}, got: {first_line(error)}") from None
        try:
            learner.load_state(_under(tensors, "learner."))
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"expected a checkpoint of this network in {self.path}, got that of another: {first_line(error)}"
            ) from None
        return position, Kept(_under(tensors, "best."), _under(tensors, "rewind."))


@contextmanager
def saving(path: Path) -> Iterator[None]:
    """Say in one line that a file of a run's work folder could not be written, and what there is to go on from."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        held = (path.parent / _FILE).exists()
        hope = "the last checkpoint is whole: --resume goes on" if held else "there is no checkpoint yet to go on from"
        raise InputError(f"expected room and leave to write {path}, got: {reason}; {hope}") from error


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
