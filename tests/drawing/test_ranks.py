"""Who comes first is said only where the intervals show it."""

from __future__ import annotations

import pytest

from xaibench.drawing.ranks import Ranked, order_of
from xaibench.metrics import wilson_interval


def ranked(n: int, *hits: int) -> list[Ranked]:
    return [
        Ranked(name=name, share=count / n, interval=wilson_interval(count, n))
        for name, count in zip("abcdef", hits, strict=False)
    ]


@pytest.mark.parametrize(
    ("n", "hits", "head", "reason"),
    [
        (100, (80, 30), "a withstands most: 80 %", "Its 95 % interval, 71.1 % to 86.7 %, lies above those of all"),
        (100, (80, 78), "a and b cannot be told apart", "They have 80 % and 78 %, and their 95 % intervals overlap."),
        (100, (80, 80), "a and b cannot be told apart", "Both have 80 %."),
        (100, (80, 80, 10), "a and b cannot be told apart", "Both have 80 %."),
        (50, (0, 0, 0), "None withstands the attacks", "All 3 have 0 %."),
        (9, (9, 9, 9, 8, 8), "a, b, c and 2 more cannot be told apart", "100 %, 100 %, 100 % and 2 more"),
        (100_000, (99_996, 10), "a withstands most: over 99.9 %", ""),
    ],
)
def test_a_tie_or_an_overlap_is_no_first_place(n: int, hits: tuple[int, ...], head: str, reason: str) -> None:
    order = order_of(ranked(n, *hits), attacked=True)
    assert order.head == head
    assert reason in order.reason


def test_without_attacks_it_speaks_of_being_right() -> None:
    assert order_of(ranked(100, 90, 20), attacked=False).head == "a is right most often: 90 %"
    assert order_of(ranked(100, 0, 0), attacked=False).head == "None is right on any sample"
