"""A classifier whose every answer is heard by somebody: what counting and watching attacks are made of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from xaibench.types import Classifier, Inputs, Loss, LossGradient, model_inputs

__all__ = ["Heard", "Overheard"]

Heard = Callable[[Tensor, Tensor], None]
"""Told the points (n, ...) of a pass and what the model said of them: logits (n, classes), without a graph."""


class Overheard:
    """A classifier that tells ``heard`` of each pass, and ``returned`` of how many samples went backwards.

    All else is the ``classifier`` itself. Each pass is made within ``guard``, and all else is asked for within it, so
    that others who share the model get their turn between two passes: even the device of a model is another while its
    graph is being traced.
    """

    def __init__(
        self,
        classifier: Classifier,
        heard: Heard,
        *,
        returned: Callable[[int], None] = lambda _: None,
        guard: AbstractContextManager[Any] | None = None,
    ) -> None:
        self.classifier = classifier
        self._heard, self._returned, self._guard = heard, returned, guard or nullcontext()

    def __getattr__(self, name: str) -> Any:
        with self._guard:
            return getattr(self.classifier, name)

    def logits(self, x: Inputs, *, embeddings: Tensor | None = None) -> Tensor:
        """See `Classifier`; a backward pass through the result is told of too."""
        tokens = model_inputs(self.classifier, x)
        with self._guard:
            logits = self.classifier.logits(tokens, embeddings=embeddings)
        self._heard(tokens.detach(), logits.detach())
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self._returned(len(gradient)))
        return logits

    def predict(self, x: Inputs) -> Tensor:
        """See `Classifier`."""
        with torch.no_grad():
            return self.logits(x).argmax(dim=1)

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Loss = "ce", *, embeddings: Tensor | None = None
    ) -> LossGradient:
        """See `Classifier`."""
        with self._guard:
            answer = self.classifier.loss_gradient(x, y, loss, embeddings=embeddings)
        self._heard(x, answer.logits.detach())
        self._returned(len(x))
        return answer

    def scorer(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """See `Classifier`."""
        with self._guard:
            score = self.classifier.scorer(x)

        def overheard(batch: Tensor) -> Tensor:
            with self._guard:
                logits = score(batch)
            self._heard(batch, logits)
            return logits

        return overheard
