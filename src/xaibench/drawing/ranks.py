"""Which of several comes first by a share of samples, in words that claim no more than the intervals show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xaibench.reading import listed, percent

__all__ = ["Order", "Ranked", "order_of"]

_MOST = 3
"""Names that a sentence lists."""


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One of several, with its share of samples that it gets right, and the 95 % interval of that."""

    name: str
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What can be said of several: a clause without a stop, and a sentence with the numbers behind it."""

    head: str
    reason: str


def order_of(ranked: Sequence[Ranked], *, attacked: bool) -> Order:
    """Who comes first of two or more, the highest share first; nobody, where others' intervals reach the first's.

    >>> one = Ranked(name="a", share=0.8, interval=(0.7, 0.88))
    >>> order_of([one, Ranked(name="b", share=0.75, interval=(0.65, 0.83))], attacked=True).head
    'a and b cannot be told apart'
    >>> order_of([one, Ranked(name="b", share=0.2, interval=(0.13, 0.29))], attacked=True).head
    'a withstands most: 80 %'
    """
    first = ranked[0]
    if first.share == 0:
        head = "None withstands the attacks" if attacked else "None is right on any sample"
        return Order(head=head, reason=f"{_all(ranked)} have 0 %.")
    level = [one for one in ranked if one is first or one.interval[1] >= first.interval[0]]
    if len(level) == 1:
        low, high = map(percent, first.interval)
        reason = f"Its 95 % interval, {low} to {high}, lies above those of all others."
        verb = "withstands most" if attacked else "is right most often"
        return Order(head=f"{first.name} {verb}: {percent(first.share)}", reason=reason)
    head = f"{listed([one.name for one in level], _MOST)} cannot be told apart"
    if all(one.share == first.share for one in level):
        return Order(head=head, reason=f"{_all(level)} have {percent(first.share)}.")
    shares = listed([percent(one.share) for one in level], _MOST)
    return Order(head=head, reason=f"They have {shares}, and their 95 % intervals overlap.")


def _all(ranked: Sequence[Ranked]) -> str:
    return "Both" if len(ranked) == 2 else f"All {len(ranked)}"
