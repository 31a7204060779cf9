"""Counting what attacks ask of a model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xaibench.types import Classifier, Inputs, Loss, LossGradient

__all__ = ["Cost", "Meter"]


@dataclass(frozen=True)
class Cost:
    """Work done: samples passed through the model forwards and backwards, and seconds."""

    forward: int = 0
    backward: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forward + other.forward, self.backward + other.backward, self.seconds + other.seconds)


class Meter:
    """A classifier that counts the samples that pass through it; all else is the ``classifier`` itself."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self._cost = Cost()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.classifier, name)

    @contextmanager
    def measured(self) -> Iterator[list[Cost]]:
        """A list that holds the cost of the block when it is over."""
        before, start, costs = self._cost, time.perf_counter(), list[Cost]()
        yield costs
        now = self._cost
        seconds = time.perf_counter() - start
        costs.append(Cost(now.forward - before.forward, now.backward - before.backward, seconds))

    def logits(self, x: Inputs, *, embeddings: Tensor | None = None) -> Tensor:
        """See `Classifier`; a backward pass through the result counts too."""
        logits = self.classifier.logits(x, embeddings=embeddings)
        self._count(forward=len(logits))
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self._count(backward=len(gradient)))
        return logits

    def predict(self, x: Inputs) -> Tensor:
        """See `Classifier`."""
        with torch.no_grad():
            return self.logits(x).argmax(dim=1)

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Loss = "ce", *, embeddings: Tensor | None = None
    ) -> LossGradient:
        """See `Classifier`."""
        self._count(forward=len(x), backward=len(x))
        return self.classifier.loss_gradient(x, y, loss, embeddings=embeddings)

    def scorer(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """See `Classifier`."""
        score = self.classifier.scorer(x)

        def counted(batch: Tensor) -> Tensor:
            self._count(forward=len(batch))
            return score(batch)

        return counted

    def _count(self, forward: int = 0, backward: int = 0) -> None:
        self._cost = replace(self._cost, forward=self._cost.forward + forward, backward=self._cost.backward + backward)
