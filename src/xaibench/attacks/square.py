"""Square attack: random search over windows of the input, by the model's answers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.base import attacks, check_norm, walk_correct
from xaibench.attacks.engine import Answer, Jobs, Problem, Rows, State
from xaibench.attacks.gradient import check_counts
from xaibench.attacks.proposals import Bumps, Ends, Proposals
from xaibench.attacks.windows import Schedule, spread
from xaibench.errors import InputError
from xaibench.losses import margin
from xaibench.threats import Threat
from xaibench.types import Classifier

__all__ = ["Square"]

_BLOCK = 50  # queries whose random numbers are drawn at once


@attacks.register("square")
@dataclass(frozen=True, kw_only=True)
class Square:
    """Random search: each query changes a window of the best point so far, and stays where the margin gains by it.

    Andriushchenko et al., *Square attack: a query-efficient black-box adversarial attack via random search* (ECCV
    2020); for l1 as in AutoAttack. In linf the window of a query goes to one end of the ball, by a sign for each
    channel; the search starts from vertical stripes. In l2 and l1 the length of a second window is moved into the first
    one, along a pattern of two peaks; the search starts from a grid of such patterns.

    ``p`` is the share of pixels in the first windows, which then shrink: see `window_share`. Each of ``restarts`` makes
    ``queries`` after its first point. Every sample has windows of its own. Where an image is shorter than a window on
    one side, the window is longer on the other; in tables it is a run of neighbouring features. The model's gradients
    are never asked for. With ``batch_size`` None the fastest is found out.
    """

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    queries: int = 5000
    p: float = 0.8
    restarts: int = 1
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "queries", "restarts", "batch_size")
        if not 0 < self.p <= 1:
            raise InputError(f"expected `p` in (0, 1], got {self.p}")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; raises `UnsupportedError` for norms other than linf, l2 and l1 too."""

        def plan(problem: Problem, logits: Tensor) -> tuple[_Search, Jobs]:
            linf = threat.norm == "linf"
            schedule = Schedule.of(problem.x, self.queries, self.p, odd=not linf)
            proposals = Ends(problem, schedule) if linf else Bumps(problem, schedule)
            return _Search(self, problem, schedule, proposals), Jobs.untargeted(problem, self.restarts)

        check_norm(self, threat)
        return walk_correct(plan, model, x, y, threat, ids=ids, seed=seed, batch_size=self.batch_size)


@dataclass(frozen=True)
class _Search:
    """The walk of `Square`."""

    method: Square
    problem: Problem
    schedule: Schedule
    proposals: Proposals
    repeats: ClassVar[int] = 1

    @property
    def steps(self) -> int:
        return self.method.queries

    def loss(self, rows: Rows) -> None:
        return None

    def begin(self, rows: Rows) -> State:
        state = self.proposals.begin(rows, rows.rng(self.problem.seed, f"{self.method.name}/start"))
        words = torch.zeros(len(rows.ids), _BLOCK, self._words, dtype=torch.int64, device=rows.ids.device)
        reached = rows.clean.new_full(rows.labels.shape, -torch.inf)
        return {**state, "best": state["x"].clone(), "margin": reached, "words": words}

    def move(self, rows: Rows, state: State, answer: Answer) -> None:
        reached = margin(answer.logits, rows.labels).to(state["margin"])
        better = (reached > state["margin"]).nonzero().flatten()
        state["best"].index_copy_(0, better, state["x"][better])
        state["margin"] = torch.maximum(state["margin"], reached)
        words = self._drawn(rows, state)
        level = self.schedule.levels[rows.steps.clamp_max(self.steps - 1)]
        windows = [self.schedule.windows(words[:, place], level) for place in range(self.proposals.windows)]
        bits = spread(words[:, self.proposals.windows :], self.schedule.grid[0] + 1)
        state["x"] = self.proposals.next(rows, state, windows, bits)

    @property
    def _words(self) -> int:
        """Random words of 64 bits for a query: one for each window, the others for a bit per channel and one more."""
        return self.proposals.windows + self.schedule.grid[0] // 64 + 1

    def _drawn(self, rows: Rows, state: State) -> Tensor:
        """Random words (r, words) for this query of each row; a row draws those of a whole block ahead."""
        phase = rows.steps % _BLOCK
        empty = (phase == 0).nonzero().flatten()
        if len(empty):
            drawing = rows.map(lambda value: value[empty])
            block = drawing.restarts * (self.steps // _BLOCK + 1) + drawing.steps // _BLOCK
            words = drawing.rng(self.problem.seed, self.method.name).bits((_BLOCK, self._words), block)
            state["words"].index_copy_(0, empty, words)
        return state["words"][torch.arange(len(phase), device=phase.device), phase]
