"""What a comparison found, as typed and frozen values that go to JSON and back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xaibench.card import Strict
from xaibench.evaluate.hardness import Interval
from xaibench.evaluate.results import Calibration, NotMeasured

__all__ = [
    "GRADIENT",
    "LEVEL",
    "AttackNote",
    "Compared",
    "Comparison",
    "CorruptionRow",
    "McNemar",
    "PairedFigure",
    "PerClass",
    "Within",
]

GRADIENT = "saliency:absolute=false"
"""The signed gradient of the logit, of which alignment is measured."""
LEVEL = 0.05
"""A difference counts as found where its corrected p-value is below this."""


class Compared(Strict):
    """One of the two classifiers, with its size and speed; None where that cannot be told."""

    name: str
    framework: str
    digest: str = Field(description="SHA-256 of everything that decides the logits")
    parameters: int | None = Field(default=None, description="number of values learned or kept with them")
    nonzero: int | None = Field(default=None, description="those that are not zero")
    file_bytes: int | None = Field(default=None, description="size of the file of weights")
    images_per_second: float | None = Field(
        default=None, description="samples a second forwards, in turns with the other model; differs between runs"
    )


class McNemar(Strict):
    """The same samples under two classifiers, and how likely such a difference is by chance.

    McNemar, *Note on the sampling error of the difference between correlated proportions or percentages* (Psychometrika
    1947), in its exact form: the binomial test of who wins the samples on which they differ.
    """

    what: Literal["clean", "robust"]
    accuracy: tuple[float, float]
    interval: tuple[Interval, Interval] = Field(description="Wilson's, 95 %")
    only_first: int = Field(description="samples that the first alone gets right")
    only_second: int
    p_value: float
    adjusted: float | None = Field(default=None, description="after Holm's correction for the tests of accuracy")

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.accuracy[1] - self.accuracy[0]

    @property
    def found(self) -> bool:
        """Whether a difference is shown."""
        return (self.p_value if self.adjusted is None else self.adjusted) < LEVEL


class PairedFigure(Strict):
    """One figure of both classifiers on the same samples."""

    group: Literal["distances", "transfer", "corruptions", "calibration", "explanations", "movement"]
    name: str
    method: str | None = Field(default=None, description="the explainer's spec, for figures of explanations")
    better: Literal["higher", "lower"] | None = Field(description="None for a description that is no merit")
    n: int = Field(description="samples on which both have it")
    mean: tuple[float, float]
    interval: tuple[Interval, Interval] | None = Field(default=None, description="bootstrap, 95 %")
    difference: float = Field(description="second minus first")
    difference_interval: Interval | None = Field(
        description="bootstrap over samples, both drawn together, 95 %; None where it would not hold"
    )
    test: Literal["sign_flip", "mcnemar"] | None = Field(description="None where there is no valid one")
    p_value: float | None = None
    adjusted: float | None = Field(default=None, description="after Holm's correction for all tests of figures")

    @property
    def found(self) -> bool:
        """Whether a difference is shown, which takes a test: by its p-value, corrected where it was one of many."""
        p_value = self.p_value if self.adjusted is None else self.adjusted
        return p_value is not None and p_value < LEVEL

    @property
    def outcome(self) -> Literal["better", "worse", "higher", "lower", "not shown", "not tested"]:
        """What is shown of the second, as against the first."""
        if self.p_value is None:
            return "not tested"
        if not self.found:
            return "not shown"
        rise: Literal["higher", "lower"] = "higher" if self.difference > 0 else "lower"
        return rise if self.better is None else "better" if rise == self.better else "worse"


class PerClass(Strict):
    """Samples of one class that each gets right: under attack, or unchanged where none was made."""

    name: str
    support: int
    right: tuple[int | None, int | None]


class CorruptionRow(Strict):
    """Accuracy under one corruption, the mean over severities 1, 3 and 5."""

    name: str
    accuracy: tuple[float, float]


class Within(Strict):
    """The threat model of both, and the worst-case robust accuracy at each radius that both have."""

    norm: str
    eps: float
    trained_by: str | None = Field(
        default=None, description="the model that was trained against this threat, where no radius was asked for"
    )
    unit: str
    radii: tuple[float, ...]
    curves: tuple[tuple[float, ...], tuple[float, ...]]
    intervals: tuple[tuple[Interval, ...], tuple[Interval, ...]] = Field(description="Wilson's, 95 %")


class AttackNote(Strict):
    """One attack that figures rest on."""

    what: Literal["accuracy", "distances", "transfer", "explanations"] = Field(description="the figures")
    attack: str = Field(description="spec; of `explanations`, of what the search wants")
    stages: tuple[tuple[str, ...], tuple[str, ...]] = Field(
        default=((), ()), description="of an ensemble, the attacks that it made on either model"
    )
    norm: str
    eps: float | None = Field(description="None where the smallest perturbation was searched")
    seeds: tuple[int, int]


class Comparison(Strict):
    """Two classifiers on the same samples."""

    schema_version: Literal[1] = 1
    names: tuple[str, str] = Field(description="as they are told apart here")
    models: tuple[Compared, Compared]
    task: Literal["image", "text", "tabular"]
    data: str
    split: str
    data_digest: str
    seed: int
    n: int
    verdict: str = Field(description="three sentences drawn from the numbers")
    same_model: bool = Field(description="whether both are one and the same")
    tests: tuple[McNemar, ...]
    within: Within | None = Field(description="None where neither was attacked")
    attacks: tuple[AttackNote, ...] = Field(default=(), description="all that attacked, and for which figures")
    per_class: tuple[PerClass, ...]
    figures: tuple[PairedFigure, ...] = ()
    distances: tuple[tuple[float | None, ...], tuple[float | None, ...]] | None = Field(
        default=None,
        description="to the nearest adversarial example found, of samples searched for both; None where none was",
    )
    calibration: tuple[tuple[Calibration, ...], tuple[Calibration, ...]]
    corruptions: tuple[CorruptionRow, ...] = ()
    not_measured: tuple[NotMeasured, ...] = ()

    def __repr__(self) -> str:
        from xaibench.comparison.drawn import comparison_line

        return comparison_line(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        from xaibench.comparison.drawn import comparison_html

        return comparison_html(self)

    @property
    def radii(self) -> tuple[float, ...]:
        """Those of the curves."""
        return self.within.radii if self.within else ()

    def attacked(self, what: str) -> tuple[AttackNote, ...]:
        """The attacks that these figures rest on."""
        return tuple(note for note in self.attacks if note.what == what)

    def figure(self, name: str, method: str | None = None) -> PairedFigure | None:
        """A figure by name; None where it was not measured."""
        return next((one for one in self.figures if (one.name, one.method) == (name, method)), None)
