"""The one loop behind all attacks of our own: rows of a flat batch walk until they fool the model or give up.

A row is one sample with a class to aim at and a restart. It is retired the moment that its sample is fooled, by itself
or by another row, and its place is refilled. Batches keep to few shapes (see `xaibench.attacks.shapes`) and random
numbers belong to samples, so a row walks the same way whoever its neighbours are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from xaibench.attacks.shapes import halving, scoring, shapes
from xaibench.errors import InputError, UnsupportedError
from xaibench.losses import margin
from xaibench.rng import SampleRng
from xaibench.threats import Threat, contains
from xaibench.types import Bounds, Classifier, Loss

__all__ = ["Answer", "Found", "Jobs", "Problem", "Rows", "State", "Walk", "drive"]

State = dict[str, Tensor]
"""What a walk remembers, one row each; under ``x`` the points that the model is asked about next."""


@dataclass(frozen=True)
class Problem:
    """Correctly classified samples ``x`` (n, ...) of classes ``y`` (n,), on the model's device, and their threat."""

    model: Classifier
    x: Tensor
    y: Tensor
    ids: Tensor
    threat: Threat
    seed: int = 0

    @property
    def bounds(self) -> Bounds:
        """The box of valid inputs."""
        return self.model.bounds


@dataclass(frozen=True)
class Jobs:
    """Walks to be made, (j,) each: a row of the problem, the class aimed at (the label: any other), the restart."""

    samples: Tensor
    targets: Tensor
    restarts: Tensor

    @classmethod
    def untargeted(cls, problem: Problem, restarts: int = 1) -> Self:
        """``restarts`` walks for each sample; all first walks come before the second ones."""
        samples = torch.arange(len(problem.x), device=problem.x.device)
        runs = torch.arange(restarts, device=samples.device).repeat_interleave(len(samples))
        samples = samples.repeat(restarts)
        return cls(samples, problem.y[samples], runs)

    @classmethod
    def targeted(cls, problem: Problem, logits: Tensor, targets: int, restarts: int = 1) -> Self:
        """Walks towards each of the ``targets`` likeliest wrong classes by ``logits`` (n, classes), likeliest first."""
        others = logits.scatter(1, problem.y[:, None], -torch.inf)
        ranked = others.argsort(dim=1, descending=True, stable=True)[:, : min(targets, logits.shape[1] - 1)]
        first = cls.untargeted(problem, restarts)
        return cls(
            first.samples.repeat(ranked.shape[1]),
            torch.cat([ranked[first.samples, place] for place in range(ranked.shape[1])]),
            first.restarts.repeat(ranked.shape[1]),
        )


@dataclass(frozen=True)
class Rows:
    """The rows of a batch, (r,) each: what they attack, and how far they are."""

    clean: Tensor
    labels: Tensor
    targets: Tensor
    ids: Tensor
    restarts: Tensor
    steps: Tensor
    """Questions asked so far."""
    jobs: Tensor
    """Position among the jobs; -1 for an idle row, whose other values are leftovers."""

    def rng(self, seed: int, stream: str) -> SampleRng:
        """Random numbers of these samples."""
        return SampleRng(self.ids, seed=seed, stream=stream)

    def map(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """The rows with every tensor changed alike."""
        return Rows(**{part.name: change(getattr(self, part.name)) for part in fields(self)})


class Answer(NamedTuple):
    """What the model says of the points asked about."""

    logits: Tensor
    """(r, classes)."""
    loss: Tensor | None
    """(r,), None where the walk wants no gradients."""
    gradient: Tensor | None
    """Of the loss, in the shape of the points."""


class Walk(Protocol):
    """An attack as a walk: where to ask the model first, and where next after each answer."""

    @property
    def steps(self) -> int:
        """Questions that a row may ask; the point after the last answer is tried too."""
        ...

    @property
    def repeats(self) -> int:
        """Passes that are averaged into one answer (expectation over transformation); 1 for steady models."""
        ...

    def loss(self, rows: Rows) -> Loss | None:
        """The loss whose gradient the walk follows; None if logits are enough."""
        ...

    def begin(self, rows: Rows) -> State:
        """The state of rows that start."""
        ...

    def move(self, rows: Rows, state: State, answer: Answer) -> None:
        """Take the next step of every row: bring ``state`` up to date."""
        ...


@dataclass(frozen=True)
class Found:
    """What a drive gives."""

    adversarials: Tensor
    """(n, ...): checked successes where a sample was broken, else the clean input."""
    broken: Tensor
    """(n,) bool."""
    winners: Tensor
    """(n,) the first job that broke each sample; the number of jobs where none did."""
    closest: Tensor
    """(j,) the largest margin that each job reached (positive: misclassified); -inf if it was never begun."""


def drive(
    problem: Problem,
    walk: Walk,
    jobs: Jobs,
    *,
    batch_size: int | None = None,
    watch: Callable[[Rows, Answer], None] | None = None,
    retire: Callable[[Rows, State], None] | None = None,
) -> Found:
    """Make all walks, each until its sample is broken or its steps are spent.

    A success counts once it was checked again: in the box, within the threat, finite, and misclassified in a pass of
    its own. It ends all later jobs of its sample. Earlier ones that are still under way go on, so that the example
    which counts is that of the first job to succeed at all, and not of the first in time, which the batch decides.
    ``watch`` sees every answer, ``retire`` the rows that end without success. When memory runs out the batch is halved
    and what is not broken yet starts anew; the numbers stay the same.
    """
    n, j, device = len(problem.x), len(jobs.samples), problem.x.device
    found = Found(
        problem.x.clone(),
        torch.zeros(n, dtype=torch.bool, device=device),
        torch.full((n,), j, device=device),
        torch.full((j,), -torch.inf, device=device),
    )
    if len(jobs.samples):
        sizes = shapes(problem.model, problem.x, problem.y, batch_size)

        def run(fitting: tuple[int, ...]) -> None:
            _Drive(problem=problem, walk=walk, jobs=jobs, found=found, sizes=fitting, watch=watch, retire=retire).run()

        halving(run, sizes)
    return found


@dataclass(kw_only=True)
class _Drive:
    """A batch under way; its rows are changed in place."""

    problem: Problem
    walk: Walk
    jobs: Jobs
    found: Found
    sizes: tuple[int, ...]
    watch: Callable[[Rows, Answer], None] | None
    retire: Callable[[Rows, State], None] | None
    pending: Tensor = field(init=False)
    score: Callable[[Tensor], Tensor] = field(init=False)
    finish: Callable[[Tensor, Tensor, Bounds], Tensor] | None = field(init=False)
    left: int = field(init=False, default=0)
    """Questions until the first row has spent its steps."""

    def __post_init__(self) -> None:
        self.pending = torch.arange(len(self.jobs.samples), device=self.problem.x.device)
        self.finish = getattr(self.problem.threat, "finish", None)
        if self.walk.loss(self._rows(self.pending[:1])) is None:
            self.score, self.sizes = scoring(self.problem.model, self.problem.x, self.sizes)

    def run(self) -> None:
        rows, state = self._fill(None, {})
        while rows is not None:
            answer = self._ask(rows, state["x"])
            if self.watch is not None:
                self.watch(rows, answer)
            margins = margin(answer.logits, rows.labels)
            if not bool(margins.isfinite().all()):
                raise InputError("expected finite logits from the model, got NaN or infinity at points near the inputs")
            self._note(rows, margins)
            active = rows.jobs >= 0
            fooled = self._try(rows, state["x"], active if self.finish is not None else active & (margins >= 0))
            self.walk.move(rows, state, answer)
            rows = replace(rows, steps=rows.steps + 1)
            self.left -= 1
            if fooled is not None or not self.left:
                rows, state = self._settle(rows, state, active if fooled is None else active & ~fooled)

    def _settle(self, rows: Rows, state: State, active: Tensor) -> tuple[Rows | None, State]:
        """Try the last points of rows whose steps are spent, end those and the beaten ones, and refill the batch."""
        spent = active & (rows.steps >= self.walk.steps)
        late = self._try(rows, state["x"], spent)
        self._end(rows, state, spent if late is None else spent & ~late)
        ended = ~active | spent | self._beaten(rows.jobs)
        return self._fill(replace(rows, jobs=rows.jobs.masked_fill(ended, -1)), state)

    def _beaten(self, jobs: Tensor) -> Tensor:
        """Which jobs come after one that broke their sample."""
        return jobs > self.found.winners[self.jobs.samples[jobs]]

    def _end(self, rows: Rows, state: State, ended: Tensor) -> None:
        if self.retire is not None and bool(ended.any()):
            index = ended.nonzero().flatten()
            self.retire(rows.map(lambda value: value[index]), {name: value[index] for name, value in state.items()})

    def _ask(self, rows: Rows, x: Tensor) -> Answer:
        model, loss = self.problem.model, self.walk.loss(rows)
        if loss is None:
            return Answer(self.score(x), None, None)
        passes = [model.loss_gradient(x, rows.labels, loss) for _ in range(self.walk.repeats)]
        value, gradient, logits = passes[0] if len(passes) == 1 else map(_mean, zip(*passes, strict=True))
        if not bool(gradient.abs().amax().isfinite()):
            raise UnsupportedError("a gradient attack needs finite gradients of the model, got NaN or infinity")
        return Answer(logits, value, gradient)

    def _note(self, rows: Rows, margins: Tensor) -> None:
        margins = margins.to(self.found.closest).masked_fill(rows.jobs < 0, -torch.inf)
        self.found.closest.scatter_reduce_(0, rows.jobs.clamp_min(0), margins, "amax")

    def _try(self, rows: Rows, x: Tensor, candidates: Tensor) -> Tensor | None:
        """Check the candidates among the points ``x``; which rows hold, bool (r,), or None without a candidate."""
        threat, bounds, finish = self.problem.threat, self.problem.bounds, self.finish
        index = candidates.nonzero().flatten()
        if not len(index):
            return None
        success = torch.zeros_like(candidates)
        points, clean = x[index], rows.clean[index]
        if finish is not None:
            points = finish(points, clean, bounds)
        inside = contains(threat, points, clean, bounds)
        index, points = index[inside], points[inside]
        if len(index):
            wrong = self._predict(points) != rows.labels[index]
            index, points = index[wrong], points[wrong]
            success[index] = True
            jobs = rows.jobs[index]
            samples = self.jobs.samples[jobs]
            self.found.winners.scatter_reduce_(0, samples, jobs, "amin")
            self.found.broken[samples] = True
            first = self.found.winners[samples] == jobs
            self.found.adversarials[samples[first]] = points[first].to(self.found.adversarials.dtype)
        return success

    def _predict(self, points: Tensor) -> Tensor:
        size = self._size(len(points))
        return self.problem.model.predict(_padded(points, size))[: len(points)]

    def _size(self, count: int) -> int:
        return next((size for size in self.sizes if size >= count), self.sizes[-1])

    def _fill(self, rows: Rows | None, state: State) -> tuple[Rows | None, State]:
        """Put waiting jobs into idle rows, and shrink the batch when none waits; None when all is done."""
        active = 0 if rows is None else int((rows.jobs >= 0).sum())
        size = self.sizes[-1] if rows is None else len(rows.jobs)
        if len(self.pending) and (not active or (size - active) * 8 >= size):
            self.pending = self.pending[~self._beaten(self.pending)]
            fresh, self.pending = self.pending[: size - active], self.pending[size - active :]
            if len(fresh):
                started = self._rows(fresh)
                rows, state = _merged(rows, state, started, self.walk.begin(started), len(fresh))
                active += len(fresh)
        if not active or rows is None:
            return None, state
        smaller = self._size(active)
        if smaller < len(rows.jobs) and not len(self.pending):
            keep = (rows.jobs < 0).int().argsort(stable=True)[:smaller]
            rows, state = rows.map(lambda value: value[keep]), {name: value[keep] for name, value in state.items()}
        self.left = self.walk.steps - int(rows.steps[rows.jobs >= 0].max())
        return rows, state

    def _rows(self, jobs: Tensor) -> Rows:
        """Rows that start, in a number that the model's batches may have."""
        index = _padded(jobs, self._size(len(jobs)))
        samples = self.jobs.samples[index]
        return Rows(
            clean=self.problem.x[samples],
            labels=self.problem.y[samples],
            targets=self.jobs.targets[index],
            ids=self.problem.ids[samples],
            restarts=self.jobs.restarts[index],
            steps=torch.zeros_like(index),
            jobs=index.masked_fill(torch.arange(len(index), device=index.device) >= len(jobs), -1),
        )


def _merged(rows: Rows | None, state: State, started: Rows, begun: State, count: int) -> tuple[Rows, State]:
    """The active rows with ``count`` of the started ones in the places of idle ones."""
    if rows is None or not bool((rows.jobs >= 0).any()):
        return started, begun
    idle = (rows.jobs < 0).nonzero().flatten()[:count]

    def put(old: Tensor, new: Tensor) -> Tensor:
        return old.index_copy(0, idle, new[:count])

    merged = {part.name: put(getattr(rows, part.name), getattr(started, part.name)) for part in fields(Rows)}
    return Rows(**merged), {name: put(value, begun[name]) for name, value in state.items()}


def _padded(values: Tensor, size: int) -> Tensor:
    """``values`` (k, ...) with the first row repeated up to ``size`` rows."""
    return (
        values if len(values) >= size else torch.cat([values, values[:1].expand(size - len(values), *values.shape[1:])])
    )


def _mean(values: tuple[Tensor, ...]) -> Tensor:
    return torch.stack(values).mean(dim=0)
