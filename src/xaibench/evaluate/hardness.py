"""What an evaluation found about robustness, as typed and frozen values that go to JSON and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from xaibench.card import Strict
from xaibench.drawing.bracket import Part, bracket_parts
from xaibench.registry import Spec

__all__ = [
    "AttackRow",
    "CheckOutcome",
    "ClassRobustness",
    "Confusion",
    "Corruptions",
    "Count",
    "Curve",
    "Interval",
    "MinimalDistances",
    "Proved",
    "Robustness",
    "SelfChecks",
    "Share",
    "ShareInterval",
    "SpecText",
    "StageRow",
    "check_lengths",
]

Interval = tuple[float, float]
Share = Annotated[float, Field(ge=0, le=1)]
ShareInterval = tuple[Share, Share]
Count = Annotated[int, Field(ge=0, le=10**15)]
"""Samples, or passes; what is larger is none, and no number to calculate with."""


def check_lengths(expected: int, **values: Sequence[Any]) -> None:
    """Raise `ValueError` for the first of the named ``values`` that are not as many as ``expected``."""
    for name, found in values.items():
        if len(found) != expected:
            raise ValueError(f"expected {expected} of `{name}`, got {len(found)}")


def _square(rows: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    for row in rows:
        check_lengths(len(rows), confusion_matrix=row)
    return rows


def _spec(text: str) -> str:
    Spec.parse(text)
    return text


SpecText = Annotated[str, AfterValidator(_spec)]
"""A method's name or spec, as it is written."""
Confusion = Annotated[tuple[tuple[Count, ...], ...], AfterValidator(_square)]
"""Counts by true class, then by predicted class."""


class Curve(Strict):
    """Robust accuracy at each radius of the robustness section, for one attack or for the worst of all."""

    attack: SpecText = Field(description="the attack's spec, or `worst-case`: broken by any of the attacks")
    params: dict[str, Any] = Field(default={}, description="all parameters of the attack, defaults included")
    robust: tuple[Count, ...] = Field(description="number of samples that are classified correctly and not broken")
    accuracy: tuple[Share, ...]
    interval: tuple[ShareInterval, ...]
    rejected: Count = Field(default=0, description="claimed successes that did not hold when they were checked again")

    @model_validator(mode="after")
    def _is_whole(self) -> Curve:
        check_lengths(len(self.robust), accuracy=self.accuracy, interval=self.interval)
        return self


class StageRow(Strict):
    """One attack of an ensemble: what it broke at eps of what the stages before it left."""

    stage: str
    broken: Count
    gain: Count = Field(description="broken by it, and by no attack of the plan before its ensemble")
    note: str | None = Field(default=None, description="what the reader must know to compare it")


class AttackRow(Strict):
    """One attack of the plan: what it broke at eps."""

    attack: SpecText
    broken: Count
    gain: Count = Field(description="broken by it, and by no attack of the plan before it")
    stages: tuple[StageRow, ...]


class Proved(Strict):
    """Samples that no attack can break: a lower bound on robust accuracy at each radius."""

    tried: Count = Field(description="number of samples for which linear bounds were tried at eps")
    count: tuple[Count, ...]
    accuracy: tuple[Share, ...]
    interval: tuple[ShareInterval, ...]


class ClassRobustness(Strict):
    """One class under the worst case of all attacks at eps; None where it does not occur among the labels."""

    name: str
    support: Count
    correct: Count = Field(description="classified correctly before any attack")
    robust: Count
    proved: Count
    accuracy: Share | None
    interval: ShareInterval | None


class CheckOutcome(Strict):
    """What one self-check found."""

    check: str
    status: Literal["pass", "warning", "fail", "skipped"]
    figure: float | None
    limit: float | None
    advice: str


class SelfChecks(Strict):
    """Whether the numbers can be trusted."""

    verdict: Literal["reliable", "doubtful", "unreliable"]
    outcomes: tuple[CheckOutcome, ...]


class MinimalDistances(Strict):
    """How far the nearest adversarial examples lie that an attack on the smallest perturbation finds."""

    attack: SpecText
    n: Count = Field(description="correctly classified samples that it was made on")
    found: Count = Field(description="those for which it found an example at all")
    distances: tuple[float | None, ...] = Field(description="by sample; None where nothing was found")
    median: float | None = Field(description="of all samples, those without an example counting as beyond all others")
    edges: tuple[float, ...] = Field(description="of the histogram's bins")
    counts: tuple[Count, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_whole(self) -> MinimalDistances:
        check_lengths(len(self.counts) + 1, edges=self.edges)
        check_lengths(self.n, distances=self.distances)
        _check_ascending("edges", self.edges)
        return self


class Corruptions(Strict):
    """Accuracy on images that were corrupted without an adversary."""

    n: Count
    names: tuple[str, ...]
    severities: tuple[int, ...]
    clean: Share = Field(description="on the same samples as they are")
    accuracy: tuple[tuple[Share, ...], ...] = Field(description="by name and severity")
    by_name: tuple[Share, ...]
    mean: Share

    @model_validator(mode="after")
    def _is_whole(self) -> Corruptions:
        check_lengths(len(self.names), accuracy=self.accuracy, by_name=self.by_name)
        for row in self.accuracy:
            check_lengths(len(self.severities), accuracy=row)
        return self


class Robustness(Strict):
    """Accuracy under attack over a range of radii."""

    norm: str
    eps: float = Field(description="the radius that the headline is about")
    unit: str = Field(description="what a radius counts")
    radii: tuple[Annotated[float, Field(ge=0)], ...]
    curves: tuple[Curve, ...] = Field(description="one per attack, in the order of the plan")
    worst_case: Curve
    attacks: tuple[AttackRow, ...] = Field(default=(), description="what each attack broke")
    proved: Proved | None = Field(default=None, description="None where nothing could be proved")
    unproved: str | None = Field(default=None, description="why proofs were not tried")
    per_class: tuple[ClassRobustness, ...] = ()
    confusion_matrix: Confusion = Field(default=(), description="under the worst case at eps")
    checks: SelfChecks | None = Field(default=None, description="None where they were not made")
    minimal: MinimalDistances | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Robustness:
        _check_ascending("radii", self.radii)
        if self.eps <= 0 or self.eps not in self.radii:
            raise ValueError(f"expected `eps` > 0 as one of `radii`, got {self.eps}")
        for curve in (*self.curves, self.worst_case):
            check_lengths(len(self.radii), **{f"robust of {curve.attack}": curve.robust})
        if self.proved is not None:
            check_lengths(len(self.radii), count=self.proved.count, accuracy=self.proved.accuracy)
            check_lengths(len(self.radii), interval=self.proved.interval)
        names, rows = [curve.attack for curve in self.curves], [row.attack for row in self.attacks]
        if rows and rows != names:
            raise ValueError(f"expected `attacks` to be those of `curves`, {', '.join(names)}, got {', '.join(rows)}")
        return self

    @property
    def index(self) -> int:
        """Position of `eps` among the radii."""
        return self.radii.index(self.eps)

    @property
    def bracket(self) -> tuple[float, float]:
        """Proved and robust accuracy at eps: the true robust accuracy on these samples lies between them."""
        return self.proved.accuracy[self.index] if self.proved else 0.0, self.worst_case.accuracy[self.index]

    @property
    def parts(self) -> tuple[Part, ...]:
        """What became of all samples at eps, from proved to wrong from the start."""
        proved, robust = self.bracket
        return bracket_parts(clean=self.worst_case.accuracy[0], robust=robust, proved=proved if self.proved else None)


def _check_ascending(name: str, values: Sequence[float]) -> None:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError(f"expected `{name}` in ascending order, got others")
