"""Auto-PGD: projected ascent with momentum that chooses its own step size; parameter-free but for its budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from xaibench import threats
from xaibench.attacks.base import attacks, check_norm, walk_correct
from xaibench.attacks.engine import Answer, Jobs, Problem, Rows, State
from xaibench.attacks.gradient import check_counts, loss_towards
from xaibench.threats import Threat, as_dict
from xaibench.threats.geometry import column
from xaibench.types import Capability, Classifier, require

__all__ = ["APGDCE", "APGDDLR", "APGDT", "Ascent", "checkpoints"]

_MOMENTUM = 0.75
_RISES = 0.75  # a step size is kept while the loss rises in more than this share of the steps
_SPARSER = 0.95
_PHASES = ((0.3, 3.0), (0.3, 2.0), (0.4, 1.0))  # shares of the steps, and multiples of eps


@dataclass(frozen=True, kw_only=True)
class _APGD:
    """Fields and call of the registered forms."""

    name: ClassVar[str]
    loss_name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 100
    restarts: int = 1
    eot: int = 1
    larger_eps: bool | None = None
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "steps", "restarts", "eot", "batch_size")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        require(model, self.name, Capability.GRADIENTS)
        check_norm(self, threat)
        return walk_correct(self._plan, model, x, y, threat, ids=ids, seed=seed, batch_size=self.batch_size)

    def _plan(self, problem: Problem, logits: Tensor) -> tuple[Ascent, Jobs]:
        targets = getattr(self, "targets", 0)
        larger = problem.threat.norm == "l1" if self.larger_eps is None else self.larger_eps
        walk = Ascent(
            problem=problem,
            steps=self.steps,
            stream=self.name,
            loss_name=self.loss_name,
            targeted=bool(targets),
            repeats=self.eot,
            phases=_PHASES if larger else ((1.0, 1.0),),
        )
        if targets:
            return walk, Jobs.targeted(problem, logits, targets, self.restarts)
        return walk, Jobs.untargeted(problem, self.restarts)


@attacks.register("apgd_ce")
@dataclass(frozen=True, kw_only=True)
class APGDCE(_APGD):
    """Auto-PGD on the cross-entropy, for Linf, L2 and L1.

    Croce & Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks*
    (ICML 2020); for L1 the sparse form of Croce & Hein, *Mind the box: l1-APGD for sparse adversarial attacks on image
    classifiers* (ICML 2021).

    ``eot`` gradients are averaged in each step, for models that are random. With ``larger_eps`` the first 30 % of the
    steps are taken in a ball of 3 eps and the next 30 % in one of 2 eps; None does so in L1 alone.
    """

    loss_name: ClassVar[str] = "ce"


@attacks.register("apgd_dlr")
@dataclass(frozen=True, kw_only=True)
class APGDDLR(_APGD):
    """Auto-PGD on the difference of logits ratio (the margin, below three classes); else as `APGDCE`."""

    loss_name: ClassVar[str] = "dlr"


@attacks.register("apgd_t")
@dataclass(frozen=True, kw_only=True)
class APGDT(_APGD):
    """Auto-PGD on the targeted difference of logits ratio, towards each likely wrong class; else as `APGDCE`.

    Below four classes the loss is the targeted margin. Any wrong class is a success.
    """

    loss_name: ClassVar[str] = "dlr"

    targets: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "targets")


def checkpoints(steps: int) -> Iterator[int]:
    """After how many steps the step size is reconsidered: a first 22 %, then ever shorter, down to 6 %.

    >>> list(checkpoints(100))
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    interval, shortest, shrink = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    at = interval
    while at <= steps:
        yield at
        interval = max(interval - shrink, shortest)
        at += interval


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """The walk of Auto-PGD; ``start`` gives the first points of rows, by default random ones."""

    problem: Problem
    steps: int
    stream: str
    loss_name: str
    targeted: bool = False
    repeats: int = 1
    phases: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    start: Callable[[Rows], Tensor] | None = None

    def loss(self, rows: Rows) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss, towards the targets of the rows if it is targeted."""
        return loss_towards(self.loss_name, rows.targets if self.targeted else None)

    def begin(self, rows: Rows) -> State:
        """Start from random points at the edge of the first ball."""
        x = self._random(rows) if self.start is None else self.start(rows)
        state = {"x": x, "best": x, "best_gradient": torch.zeros_like(x)}
        self._reset(rows, state, self._balls[0])
        return state

    def move(self, rows: Rows, state: State, answer: Answer) -> None:
        """Note the answer, reconsider the step size where it is time, and take the step."""
        assert answer.loss is not None
        assert answer.gradient is not None
        loss = answer.loss.to(state["best_loss"])
        better = loss > state["best_loss"]
        state["best"] = _pick(better, state["x"], state["best"])
        state["best_gradient"] = _pick(better, answer.gradient, state["best_gradient"])
        state["best_loss"] = torch.maximum(loss, state["best_loss"])
        state["rises"] = state["rises"] + (loss > state["last_loss"])
        state["last_loss"] = loss
        at = rows.steps.clamp_max(self.steps - 1)
        schedule = self._schedule
        interval = schedule.interval[at]
        restart = (self._sparser if self._sparse else self._stalled)(rows, state, interval)
        x = _pick(restart, state["best"], state["x"])
        gradient = _pick(restart, state["best_gradient"], answer.gradient)
        share = column(torch.where(at > 0, _MOMENTUM, 1.0).to(x.dtype), x)
        drift = (1 - share) * (x - state["before"])
        state["before"] = state["x"] = x
        phase = schedule.phase[at]
        for index in phase.unique().tolist():
            state["x"] = _pick(
                phase == index, self._step(self._balls[index], rows, state, gradient, (share, drift)), state["x"]
            )
        for index, threat in enumerate(self._balls[1:], 1):
            begins = schedule.begins[at] == index
            if bool(begins.any()):
                fresh = {**state, "x": threat.project(state["best"], rows.clean, self.problem.bounds)}
                self._reset(rows, fresh, threat)
                for name, value in state.items():
                    state[name] = _pick(begins, fresh[name], value)

    def _step(
        self, threat: Threat, rows: Rows, state: State, gradient: Tensor, momentum: tuple[float | Tensor, Tensor]
    ) -> Tensor:
        """From ``before``, which holds the present point by now."""
        x, bounds = state["before"], self.problem.bounds
        if self._sparse:
            return threat.project(_sparse_step(threat, x, gradient, state), rows.clean, bounds)
        share, drift = momentum
        ahead = threat.project(threat.ascend(x, gradient, state["size"], bounds), rows.clean, bounds)
        return threat.project(x + share * (ahead - x) + drift, rows.clean, bounds)

    def _stalled(self, rows: Rows, state: State, interval: Tensor) -> Tensor:
        """At a checkpoint, halve the step where the loss rises too seldom or has not improved since the last one."""
        due = interval > 0
        seldom = state["rises"] <= _RISES * interval
        idle = ~state["halved"] & (state["best_loss"] <= state["checked_loss"])
        halve = due & (seldom | idle)
        state["size"] = state["size"] * torch.where(halve, 0.5, 1.0).to(state["size"])
        state["halved"] = torch.where(due, halve, state["halved"])
        state["checked_loss"] = torch.where(due, state["best_loss"], state["checked_loss"])
        state["rises"] = state["rises"] * ~due
        return halve

    def _sparser(self, rows: Rows, state: State, interval: Tensor) -> Tensor:
        """At a checkpoint, start again with full steps where the best points change fewer features than before."""
        due = interval > 0
        changed = (state["best"] != rows.clean).flatten(1).sum(dim=1).to(state["changed"])
        again = due & (changed < _SPARSER * state["changed"])
        full = self._full_size(rows, state)
        size = torch.where(again, full, (state["size"] / 1.5).clamp_min(full / 10))
        state["size"] = torch.where(due, size, state["size"])
        state["share"] = torch.where(due, changed / (1.5 * rows.clean[0].numel()), state["share"])
        state["changed"] = torch.where(due, changed, state["changed"])
        return again

    def _full_size(self, rows: Rows, state: State) -> Tensor:
        at = rows.steps.clamp_max(self.steps - 1)
        radii = torch.tensor([threat.eps for threat in self._balls], device=at.device).to(state["size"])
        return radii[self._schedule.phase[at]]

    def _random(self, rows: Rows) -> Tensor:
        threat, clean = self._balls[0], rows.clean
        rng = rows.rng(self.problem.seed, self.stream)
        shape = tuple(clean.shape[1:])
        if threat.norm == "linf":
            noise = rng.uniform(shape, rows.restarts, low=-1.0, high=1.0)
        else:
            noise = rng.normal(shape, rows.restarts)
        unit = clean.new_tensor(1.0 if threat.scale is None else threat.scale)
        noise = noise.to(clean) * unit
        if not self._sparse:
            noise = noise * column(threat.eps / threat.distance(noise, torch.zeros_like(noise)).to(clean), clean)
        return threat.project(clean + noise, clean, self.problem.bounds)

    def _reset(self, rows: Rows, state: State, threat: Threat) -> None:
        """What a walk knows before its first answer in a ball."""
        x = state["x"]
        like = torch.ones(len(x), device=x.device, dtype=x.dtype)
        changed = (x != rows.clean).flatten(1).sum(dim=1).to(like)
        size = x[0].numel()
        first = len(self.phases) == 1
        state |= {
            "before": x,
            "best_loss": -torch.inf * like,
            "last_loss": torch.inf * like,
            "checked_loss": -torch.inf * like,
            "size": threat.eps * (1 if self._sparse else 2) * like,
            "rises": 0 * like,
            "halved": like.bool(),
            "share": 0.2 * like if first else changed / (1.5 * size),
            "changed": size * like if first else changed,
        }

    @property
    def _sparse(self) -> bool:
        return self.problem.threat.norm == "l1"

    @cached_property
    def _balls(self) -> list[Threat]:
        return [enlarged(self.problem.threat, multiple) for _, multiple in self.phases]

    @cached_property
    def _schedule(self) -> _Schedule:
        return _Schedule.of(self.steps, self.phases, self._sparse, self.problem.x.device)


@dataclass(frozen=True)
class _Schedule:
    """What is due at each question, (steps,) each."""

    phase: Tensor
    begins: Tensor
    """The phase that begins after this question; -1 where none does."""
    interval: Tensor
    """Questions since the last checkpoint where the step size is reconsidered, else 0."""

    @classmethod
    def of(cls, steps: int, phases: tuple[tuple[float, float], ...], sparse: bool, device: torch.device) -> _Schedule:
        phase, begins, interval = [0] * steps, [-1] * steps, [0] * steps
        start = 0
        for index, (share, _) in enumerate(phases):
            length = steps - start if index == len(phases) - 1 else min(math.ceil(share * steps), steps - start)
            last = 0
            for at in checkpoints(length) if not sparse else range(every := max(int(0.04 * length), 1), length, every):
                if at < length:
                    interval[start + at], last = at - last, at
            phase[start : start + length] = [index] * length
            if start and length:
                begins[start - 1] = index
            start += length
        return cls(*(torch.tensor(values, device=device) for values in (phase, begins, interval)))


def enlarged(threat: Threat, multiple: float) -> Threat:
    """The same threat with another radius."""
    return threat if multiple == 1 else threats.threat(**{**as_dict(threat), "eps": threat.eps * multiple})


def _sparse_step(threat: Threat, x: Tensor, gradient: Tensor, state: State) -> Tensor:
    """A step of the state's size in L1, spread evenly over the state's share of the steepest features."""
    unit = x.new_tensor(1.0 if threat.scale is None else threat.scale)
    slope = (gradient * unit).flatten(1)
    rank = ((1 - state["share"]) * slope.shape[1]).long().clamp(0, slope.shape[1] - 1)
    least = slope.abs().sort(dim=1).values.gather(1, rank[:, None])
    direction = slope.sign() * (slope.abs() >= least)
    move = direction * (state["size"] / direction.abs().sum(dim=1).clamp_min(1))[:, None]
    return x + unit * move.view(x.shape)


def _pick(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """Rows of ``yes`` where the mask (r,) holds, else of ``no``."""
    index = mask.nonzero().flatten()
    if len(index) == len(mask):
        return yes
    return no.index_copy(0, index, yes[index]) if len(index) else no
