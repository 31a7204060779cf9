"""One attack on one sample, watched: what it looked at, what the model said, what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaibench.attacks import Attack
from xaibench.attacks.aim import Aimed
from xaibench.attacks.base import check_inputs
from xaibench.errors import InputError
from xaibench.losses import ce, margin
from xaibench.robustness.overheard import Overheard
from xaibench.threats import Threat, contains
from xaibench.types import Classifier

__all__ = ["Strike", "Trajectory", "strike"]


@dataclass
class Trajectory:
    """What the model said in each pass that an attack on one sample made: of the point that came nearest to success.

    Passes at nothing but the clean input, with which attacks begin and try batch sizes, are one; the last look at
    a success, which checks it, is none.
    """

    label: int
    target: int | None = None
    """The class aimed at; None where any other will do."""
    distances: list[float] = field(default_factory=list)
    """From the clean input, in the norm of the threat."""
    looks: int = 0
    """Points that the model was asked about, copies that fill a batch up not counted."""
    _room: Tensor = field(default_factory=lambda: torch.empty(0), repr=False)

    def __len__(self) -> int:
        return len(self.distances)

    @property
    def logits(self) -> Tensor:
        """(passes, classes)."""
        return self._room[: len(self)]

    @property
    def probabilities(self) -> Tensor:
        """(passes, classes)."""
        return self.logits.softmax(dim=1)

    @property
    def losses(self) -> Tensor:
        """Cross-entropy with the label, (passes,)."""
        return ce(self.logits, torch.full((len(self),), self.label))

    def add(self, logits: Tensor, distance: float, looks: int) -> None:
        """Note a pass at ``looks`` points: what was said (classes,) of the best of them, and how far away that is."""
        if len(self) == len(self._room):  # one block that grows: a tensor for each pass would take ten times as much
            more = torch.empty(max(32, len(self)), len(logits))
            self._room = torch.cat([self._room.view(-1, len(logits)), more])
        self._room[len(self)] = logits
        self.distances.append(distance)
        self.looks += looks

    def forget_last(self) -> None:
        """Drop the last pass, at one point."""
        self.distances.pop()
        self.looks -= 1

    def lowest(self, within: float) -> float:
        """The least probability of the label among the points no further away than ``within``."""
        inside = torch.tensor(self.distances) <= within + 1e-6
        return float(self.probabilities[inside, self.label].min())


@dataclass(frozen=True, kw_only=True)
class Strike:
    """What an attack did to one sample; tensors on the CPU."""

    threat: Threat
    x: Tensor
    """(1, ...) the clean input."""
    found: Tensor
    """(1, ...) the adversarial example, checked again; the clean input where there is none."""
    broken: bool
    before: Tensor
    """Probabilities (classes,) of the clean input."""
    after: Tensor
    """Probabilities (classes,) of what was found."""
    trajectory: Trajectory
    seconds: float
    """Without the search for a batch size, which is made once for a model."""
    stopped: bool = False
    """Ended by a limit before the attack was through."""

    def __repr__(self) -> str:
        from xaibench.robustness.struck import strike_line

        return strike_line(self)

    def _repr_html_(self) -> str:
        from xaibench.robustness.struck import strike_html

        return strike_html(self)


class _LimitError(Exception):
    """A limit is reached."""


def strike(
    model: Classifier,
    x: Tensor,
    label: int,
    threat: Threat,
    attack: Attack,
    *,
    target: int | None = None,
    sample_id: int = 0,
    seed: int = 0,
    seconds: float = 60.0,
    looks: int = 1_000_000,
    watch: Callable[[Trajectory], None] | None = None,
    guard: AbstractContextManager[Any] | None = None,
) -> Strike:
    """Attack one sample ``x`` (1, ...) that the model gives class ``label``, and note what it asks of the model.

    With ``target`` the attack is after that class, and no other will do. It ends after ``seconds``, or as many
    ``looks`` at the model, with the nearest success seen by then. ``watch`` is told after each pass; every pass is
    made within ``guard``.

    Raises `InputError` for a sample that the model does not give that class, or gives the target already, and what
    attacks raise.
    """
    guard = guard or nullcontext()
    with guard:
        x, y, ids, threat = check_inputs(model, x, torch.tensor([label]), threat, torch.tensor([sample_id]))
    before = _probabilities(model, x, guard)
    if int(before.argmax()) != label or label == target:
        aim = "" if target is None else f" and target {target}"
        raise InputError(f"expected a label that the model gives, and another target, got label {label}{aim}")
    trajectory = Trajectory(label, target)
    listener = _Listener(
        x=x, threat=threat, trajectory=trajectory, model=model, watch=watch, looks=looks, seconds=seconds
    )
    asked: Any = Overheard(model, listener, guard=guard)
    if target is not None:
        asked, y = Aimed(asked, target), torch.zeros_like(y)
    stopped = False
    try:
        found = attack(asked, x, y, threat, ids=ids, seed=seed)
    except _LimitError:
        found, stopped = listener.nearest, True
    after = _probabilities(model, found, guard)
    broken = _succeeded(int(after.argmax()), trajectory)
    if broken and listener.repeated:
        trajectory.forget_last()
    return Strike(
        threat=threat,
        x=x.cpu(),
        found=found.cpu(),
        broken=broken,
        before=before,
        after=after,
        trajectory=trajectory,
        seconds=time.perf_counter() - listener.start - listener.setup,
        stopped=stopped,
    )


@dataclass(kw_only=True)
class _Listener:
    """Hears every pass of an attack, notes the best of its points, and calls an end to it."""

    x: Tensor
    threat: Threat
    trajectory: Trajectory
    model: Classifier
    watch: Callable[[Trajectory], None] | None
    looks: int
    seconds: float

    def __post_init__(self) -> None:
        self.nearest, self._reach = self.x, math.inf
        self.start = self._last = time.perf_counter()
        self.setup, self.repeated = 0.0, False
        self._point = torch.empty(0)

    def __call__(self, points: Tensor, logits: Tensor) -> None:
        now, notes = time.perf_counter(), self.trajectory
        if len(notes) and torch.equal(points, self.x.expand_as(points)):
            self.setup += now - self._last
        else:
            self._note(points, logits)
        self._last = now
        if notes.looks >= self.looks or now - self.start - self.setup >= self.seconds:
            raise _LimitError

    def _note(self, points: Tensor, logits: Tensor) -> None:
        notes = self.trajectory
        best = int(_progress(logits, notes).argmax())
        point = points[best : best + 1].detach().to(self.x)
        self.repeated = torch.equal(point, self._point)
        self._point = point.clone()
        distance = float(self.threat.distance(point, self.x))
        notes.add(logits[best].cpu(), distance, 1 + int((points[1:] != points[:1]).flatten(1).any(dim=1).sum()))
        better = distance < self._reach and _succeeded(int(logits[best].argmax()), notes)
        if better and bool(contains(self.threat, point, self.x, self.model.bounds)):
            self.nearest, self._reach = self._point, distance
        if self.watch is not None:
            self.watch(notes)


def _progress(logits: Tensor, notes: Trajectory) -> Tensor:
    """Margins (n,), positive where the attack is there."""
    if notes.target is None:
        return margin(logits, torch.full_like(logits[:, 0], notes.label, dtype=torch.int64))
    return -margin(logits, torch.full_like(logits[:, 0], notes.target, dtype=torch.int64))


def _succeeded(answer: int, notes: Trajectory) -> bool:
    return answer != notes.label if notes.target is None else answer == notes.target


def _probabilities(model: Classifier, x: Tensor, guard: AbstractContextManager[Any]) -> Tensor:
    with guard, torch.no_grad():
        return model.logits(x)[0].cpu().double().softmax(dim=0)  # in float what is all but sure would be sure
