"""Ascents that are watched step by step, and checks of how they went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.apgd import Ascent
from xaibench.attacks.engine import Answer, Jobs, Problem, Rows, drive
from xaibench.checks.base import Case, Outcome, checks, graded
from xaibench.errors import UnsupportedError
from xaibench.threats.base import Ruled
from xaibench.types import Capability, LossGradient, require

__all__ = ["IncompleteOptimisation", "SilentSuccess", "Trace", "check_ball", "climb", "traced"]


@dataclass(frozen=True)
class Trace:
    """An ascent on k samples, watched."""

    losses: Tensor
    """(k, steps): the margin after each step; NaN once the sample is broken."""
    crossed: Tensor
    """(k,) bool: misclassified at some step."""
    broken: Tensor
    """(k,) bool: in the result, after it was checked again."""


def traced(problem: Problem, steps: int) -> Trace:
    """Watch Auto-PGD on the margin."""
    n = len(problem.x)
    losses = torch.full((n, steps), torch.nan, device=problem.x.device)
    crossed = torch.zeros(n, dtype=torch.bool, device=problem.x.device)

    def watch(rows: Rows, answer: Answer) -> None:
        active = (rows.jobs >= 0).nonzero().flatten()
        samples = rows.jobs[active]
        assert answer.loss is not None
        losses[samples, rows.steps[active]] = answer.loss[active].to(losses)
        crossed[samples] |= answer.logits.argmax(dim=1)[active] != rows.labels[active]

    walk = Ascent(problem=problem, steps=steps, stream="checks/trace", loss_name="margin")
    found = drive(problem, walk, Jobs.untargeted(problem), watch=watch)
    return Trace(losses, crossed, found.broken)


def climb(
    problem: Problem, ask: Callable[[Tensor], LossGradient], *, steps: int, restart: int = 0
) -> tuple[Tensor, Tensor]:
    """Auto-PGD to the end, on any loss: the best points (n, ...), and their losses (n,)."""
    walk = Ascent(problem=problem, steps=steps, stream="checks/climb", loss_name="margin")
    zero = torch.zeros_like(problem.y)
    rows = Rows(problem.x, problem.y, problem.y, problem.ids, zero + restart, zero, zero)
    state = walk.begin(rows)
    for _ in range(steps):
        answer = ask(state["x"])
        walk.move(rows, state, Answer(answer.logits, answer.loss, answer.gradient))
        rows = replace(rows, steps=rows.steps + 1)
    return state["best"], state["best_loss"]


def check_ball(case: Case) -> None:
    """Raise `UnsupportedError` where Auto-PGD does not exist for the threat."""
    if case.threat.norm not in ("linf", "l2", "l1") or isinstance(case.threat, Ruled):
        raise UnsupportedError(f"it needs a plain ball of linf, l2 or l1, got {case.threat.norm}")


def _trace(name: str, case: Case, samples: int, steps: int) -> Trace:
    require(case.model, name, Capability.GRADIENTS)
    check_ball(case)
    return traced(case.problem(case.some(case.robust, samples)), steps)


@checks.register("silent_success")
@dataclass(frozen=True, kw_only=True)
class SilentSuccess:
    """Whether an ascent passes misclassified points and does not report one in the end.

    Pintor et al., *Indicators of attack failure* (NeurIPS 2022). The figure is the share of such samples among those
    that stood; it fails above ``grave``. Each iterate counts here, and is looked at again before it does: so this fires
    where a second look sees another model.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 16
    steps: int = 10
    limit: float = 0.0
    grave: float = 0.1

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        trace = _trace(self.name, case, self.samples, self.steps)
        figure = float((trace.crossed & ~trace.broken).double().mean())
        status = graded(figure, self.limit, self.grave)
        return Outcome(
            check=self.name,
            status=status,
            figure=figure,
            limit=self.limit,
            advice="No misclassified point was lost on the way."
            if status == "pass"
            else "Points that fooled the model no longer do when looked at again: it is random, or mixes its batch.",
        )


@checks.register("incomplete_optimisation")
@dataclass(frozen=True, kw_only=True)
class IncompleteOptimisation:
    """Whether an ascent is still rising when it ends.

    Pintor et al. (NeurIPS 2022). The figure is the mean, over samples that stand, of how far the best loss, rescaled to
    [0, 1] over the whole ascent, moves in the ``last`` of its ``steps``.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 16
    steps: int = 40
    last: int = 10
    limit: float = 0.05

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        trace = _trace(self.name, case, self.samples, self.steps)
        losses = trace.losses[~trace.losses.isnan().any(dim=1)]
        if not len(losses):
            raise UnsupportedError("no ascent went to its end without success")
        best = losses.cummax(dim=1).values
        low = losses.amin(dim=1)
        reach = (best[:, -1] - low).clamp_min(torch.finfo(best.dtype).tiny)
        figure = float(((best[:, -1] - best[:, -1 - self.last]) / reach).mean())
        fired = figure > self.limit
        return Outcome(
            check=self.name,
            status="warning" if fired else "pass",
            figure=figure,
            limit=self.limit,
            advice=f"Attacks still gain after {self.steps} steps: give them more."
            if fired
            else f"The loss has settled after {self.steps} steps.",
        )
