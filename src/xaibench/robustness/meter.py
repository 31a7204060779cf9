"""Counting what attacks ask of a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from xaibench.robustness.overheard import Overheard
from xaibench.types import Classifier

__all__ = ["Cost", "Meter"]


@dataclass(frozen=True)
class Cost:
    """Work done: samples passed through the model forwards and backwards, and seconds."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forward + other.forward, self.backward + other.backward, self.seconds + other.seconds)


class Meter(Overheard):
    """A classifier that counts the samples that pass through it; all else is the ``classifier`` itself."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier, self._forward, returned=self._backward)
        self._cost = Cost()

    @contextmanager
    def measured(self) -> Iterator[list[Cost]]:
        """A list that holds the cost of the block when it is over."""
        before, start, costs = self._cost, time.perf_counter(), list[Cost]()
        yield costs
        now = self._cost
        seconds = time.perf_counter() - start
        costs.append(Cost(now.forward - before.forward, now.backward - before.backward, seconds))

    def _forward(self, _: Tensor, logits: Tensor) -> None:
        self._cost = replace(self._cost, forward=self._cost.forward + len(logits))

    def _backward(self, samples: int) -> None:
        self._cost = replace(self._cost, backward=self._cost.backward + samples)
