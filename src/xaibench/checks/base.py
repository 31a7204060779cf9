"""What every self-check shares: the case that it looks at, its outcome, and the verdict of all together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from xaibench.attacks.engine import Problem
from xaibench.errors import UnsupportedError
from xaibench.registry import Registry, Spec
from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.types import Classifier, Progress

__all__ = [
    "Case",
    "Check",
    "Outcome",
    "Report",
    "Status",
    "Verdict",
    "bound_of",
    "checks",
    "examine",
    "graded",
    "verdict_of",
]

Status = Literal["pass", "warning", "fail", "skipped"]
Verdict = Literal["reliable", "doubtful", "unreliable"]

_PASS = 256


@dataclass(frozen=True, kw_only=True)
class Case:
    """A finished evaluation of n samples ``x`` (n, ...) of classes ``y`` (n,), all on the model's device."""

    model: Classifier
    x: Tensor
    y: Tensor
    ids: Tensor
    threat: Threat
    seed: int
    correct: Tensor
    """(n,) bool: classified correctly before any attack."""
    robust: Tensor
    """(n,) bool: correct, and broken by no attack."""
    adversarials: Tensor
    """As ``x``: what broke a sample, else the clean input."""
    broken_by: tuple[str, ...]
    """The attack's spec for each sample; ``clean`` or empty where there is none."""
    attacks: tuple[str, ...] = ()
    """The attacks that were made."""

    @cached_property
    def standing(self) -> Tensor:
        """Rows of the robust samples."""
        return self.robust.nonzero().flatten()

    @property
    def robust_accuracy(self) -> float:
        """Share of samples that no attack broke."""
        return float(self.robust.double().mean())

    def some(self, mask: Tensor, count: int) -> Tensor:
        """Up to ``count`` rows (k,) of the mask (n,), drawn by seed and id; if none, `UnsupportedError`."""
        rows = mask.nonzero().flatten()
        if not len(rows):
            kind = "was left standing" if mask is self.robust else "is classified correctly"
            raise UnsupportedError(f"no sample {kind}")
        draw = SampleRng(self.ids[rows], seed=self.seed, stream="checks").bits((1,)).squeeze(1)
        return rows[draw.argsort(stable=True)[:count]].sort().values

    def problem(self, rows: Tensor, threat: Threat | None = None) -> Problem:
        """The chosen samples (k,) as attacks take them, within the case's threat or another one."""
        return Problem(self.model, self.x[rows], self.y[rows], self.ids[rows], threat or self.threat, self.seed)

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of any number of inputs."""
        return torch.cat([self.model.logits(part) for part in x.split(_PASS)])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a check found."""

    check: str
    status: Status
    figure: float | None
    """The number that decided; None where there is none, or the check was skipped."""
    limit: float | None
    """What the figure was compared with."""
    advice: str
    """One sentence: what it means and what to do, or why the check was skipped."""


def graded(figure: float, limit: float, grave: float) -> Status:
    """The status of a figure that should be small: it warns above ``limit`` and fails above ``grave``."""
    return "pass" if figure <= limit else "warning" if figure <= grave else "fail"


class Check(Protocol):
    """A question about a finished evaluation.

    Its answer depends on the case alone; its thresholds are fields. ``thorough`` says that it costs more than a small
    share of an evaluation. One that does not may do more where those are made too: ``if_thorough`` holds its fields
    for that. One whose figure should be no smaller than its limit, where others should be no larger, says so by a class
    variable ``floor``.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool]

    def __call__(self, case: Case) -> Outcome:
        """Look at the case; `UnsupportedError` where the question does not apply, which counts as skipped."""
        ...


checks: Registry[Check] = Registry("check")
"""Self-checks by name."""


def bound_of(check: str, limit: float) -> str:
    """What a check wants of its figure, for reading; a check that is not known here has a limit alone.

    >>> bound_of("unknown", 0.5)
    '0.5'
    """
    value = f"{limit:.3g}".replace("-", "−")
    if check not in checks:
        return value
    return f"{'at least' if getattr(checks.get(check), 'floor', False) else 'at most'} {value}"


def verdict_of(statuses: Sequence[Status]) -> Verdict:
    """What follows from the outcomes of all checks: see `Report.verdict`."""
    if "fail" in statuses:
        return "unreliable"
    most_skipped = 2 * statuses.count("skipped") > len(statuses)
    return "doubtful" if "warning" in statuses or most_skipped else "reliable"


@dataclass(frozen=True)
class Report:
    """The outcomes of all checks that were made."""

    outcomes: tuple[Outcome, ...]

    @property
    def verdict(self) -> Verdict:
        """``unreliable`` if a check failed, ``doubtful`` if one warned or most were skipped, else ``reliable``."""
        return verdict_of([outcome.status for outcome in self.outcomes])

    @property
    def fired(self) -> tuple[Outcome, ...]:
        """Warnings and failures, failures first."""
        order = ("fail", "warning")
        return tuple(outcome for status in order for outcome in self.outcomes if outcome.status == status)


def examine(case: Case, *, thorough: bool = False, progress: Progress | None = None) -> Report:
    """Make every check on a case, the costly ones only if ``thorough``."""
    chosen = [name for name in checks if thorough or not checks.get(name).thorough]  # type: ignore[attr-defined]
    outcomes = []
    for done, name in enumerate(chosen, 1):
        more = getattr(checks.get(name), "if_thorough", {}) if thorough else {}
        outcomes.append(_outcome(Spec(name, more), case))
        if progress is not None:
            progress("self-checks", done, len(chosen), {"check": name, "status": outcomes[-1].status})
    return Report(tuple(outcomes))


def _outcome(check: Spec, case: Case) -> Outcome:
    try:
        with torch.no_grad():
            outcome = checks.create(check)(case)
    except UnsupportedError as error:
        return Outcome(check=check.name, status="skipped", figure=None, limit=None, advice=f"Not made: {error}.")
    if outcome.figure is None or math.isfinite(outcome.figure):
        return outcome
    advice = "The figure is no number: the model's logits or gradients are not finite where attacks go."
    return replace(outcome, status="fail", figure=None, advice=advice)
