"""Sentences of the Robustness page hold for one sample as for many."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from xaibench.evaluate.hardness import AttackRow, MinimalDistances
from xaibench.pages.robustness.details import best_value, nearest_in_words


def told(first: tuple[int, int], last: tuple[int, int], passes: tuple[int, int]) -> str:
    rows = [AttackRow(attack=name, broken=broken, gain=gain, stages=()) for name, (broken, gain) in
            zip(("fgsm", "pgd"), (first, last), strict=True)]  # fmt: skip
    counts = {row.attack: (count, 0) for row, count in zip(rows, passes, strict=True)}
    report: Any = SimpleNamespace(timings=SimpleNamespace(passes=counts))
    return best_value(report, cast("Any", SimpleNamespace(attacks=tuple(rows))))


@pytest.mark.parametrize(
    ("first", "last", "passes", "says"),
    [
        ((1, 1), (0, 0), (100, 19), "FGSM alone breaks the one sample that falls; PGD adds nothing."),
        ((0, 0), (1, 1), (100, 200), "FGSM alone breaks nothing; PGD adds 1 sample, with 2 times its passes."),
        (
            (3, 3),
            (4, 2),
            (10, 55),
            "FGSM alone breaks 3 of the 5 samples that fall; PGD adds 2 samples, with 5.5",
        ),
        ((0, 0), (0, 0), (1, 1), "No attack broke anything at this radius."),
    ],
)
def test_what_attacks_add_is_said_of_one_as_of_many(
    first: tuple[int, int], last: tuple[int, int], passes: tuple[int, int], says: str
) -> None:
    assert says in told(first, last, passes)


def distances(n: int, found: int, median: float | None) -> MinimalDistances:
    return MinimalDistances(
        attack="fmn", n=n, found=found, distances=(median,) * n, median=median, edges=(0.0, 1.0), counts=(found,)
    )


@pytest.mark.parametrize(
    ("minimal", "says"),
    [
        (distances(1, 1, 0.25), "The nearest adversarial example that FMN found of 1 sample lies at 0.25 (dashed)."),
        (distances(1, 0, None), "FMN looked for the nearest adversarial example of 1 sample, and found none."),
        (distances(4, 4, 0.5), "Half of 4 samples have an adversarial example within 0.5 (dashed)."),
    ],
)
def test_half_of_one_sample_is_not_spoken_of(minimal: MinimalDistances, says: str) -> None:
    assert says in nearest_in_words(minimal)
