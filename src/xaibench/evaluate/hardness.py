"""What an evaluation found about robustness, as typed and frozen values that go to JSON and back."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from xaibench.card import Strict
from xaibench.drawing.bracket import Part, bracket_parts

__all__ = [
    "AttackRow",
    "CheckOutcome",
    "ClassRobustness",
    "Corruptions",
    "Curve",
    "Interval",
    "MinimalDistances",
    "Proved",
    "Robustness",
    "SelfChecks",
    "StageRow",
]

Interval = tuple[float, float]


class Curve(Strict):
    """Robust accuracy at each radius of the robustness section, for one attack or for the worst of all."""

    attack: str = Field(description="the attack's spec, or `worst-case`: broken by any of the attacks")
    params: dict[str, Any] = Field(default={}, description="all parameters of the attack, defaults included")
    robust: tuple[int, ...] = Field(description="number of samples that are classified correctly and not broken")
    accuracy: tuple[float, ...]
    interval: tuple[Interval, ...]
    rejected: int = Field(default=0, description="claimed successes that did not hold when they were checked again")


class StageRow(Strict):
    """One attack of an ensemble: what it broke at eps of what the stages before it left."""

    stage: str
    broken: int
    gain: int = Field(description="broken by it, and by no attack of the plan before its ensemble")
    note: str | None = Field(default=None, description="what the reader must know to compare it")


class AttackRow(Strict):
    """One attack of the plan: what it broke at eps."""

    attack: str
    broken: int
    gain: int = Field(description="broken by it, and by no attack of the plan before it")
    stages: tuple[StageRow, ...]


class Proved(Strict):
    """Samples that no attack can break: a lower bound on robust accuracy at each radius."""

    tried: int = Field(description="number of samples for which linear bounds were tried at eps")
    count: tuple[int, ...]
    accuracy: tuple[float, ...]
    interval: tuple[Interval, ...]


class ClassRobustness(Strict):
    """One class under the worst case of all attacks at eps; None where it does not occur among the labels."""

    name: str
    support: int
    correct: int = Field(description="classified correctly before any attack")
    robust: int
    proved: int
    accuracy: float | None
    interval: Interval | None


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

    attack: str
    n: int = Field(description="correctly classified samples that it was made on")
    found: int = Field(description="those for which it found an example at all")
    distances: tuple[float | None, ...] = Field(description="by sample; None where nothing was found")
    median: float | None = Field(description="of all samples, those without an example counting as beyond all others")
    edges: tuple[float, ...] = Field(description="of the histogram's bins")
    counts: tuple[int, ...]


class Corruptions(Strict):
    """Accuracy on images that were corrupted without an adversary."""

    n: int
    names: tuple[str, ...]
    severities: tuple[int, ...]
    clean: float = Field(description="on the same samples as they are")
    accuracy: tuple[tuple[float, ...], ...] = Field(description="by name and severity")
    by_name: tuple[float, ...]
    mean: float


class Robustness(Strict):
    """Accuracy under attack over a range of radii."""

    norm: str
    eps: float = Field(description="the radius that the headline is about")
    unit: str = Field(description="what a radius counts")
    radii: tuple[float, ...]
    curves: tuple[Curve, ...] = Field(description="one per attack, in the order of the plan")
    worst_case: Curve
    attacks: tuple[AttackRow, ...] = Field(default=(), description="what each attack broke")
    proved: Proved | None = Field(default=None, description="None where nothing could be proved")
    unproved: str | None = Field(default=None, description="why proofs were not tried")
    per_class: tuple[ClassRobustness, ...] = ()
    confusion_matrix: tuple[tuple[int, ...], ...] = Field(default=(), description="under the worst case at eps")
    checks: SelfChecks | None = Field(default=None, description="None where they were not made")
    minimal: MinimalDistances | None = None

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
