"""A model that tells one class from all others: what makes any attack a targeted one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.losses import resolve
from xaibench.types import Classifier, Inputs, Loss, LossGradient

__all__ = ["Aimed"]


class Aimed:
    """A classifier as two classes: 0, anything else, and 1, the ``target``; all else is the ``classifier`` itself.

    Its logits are the largest of the other classes and that of the target, so class 1 is its answer wherever the
    classifier answers with the target. An attack on the label 0 is one towards the target.
    """

    num_classes = 2
    class_names = ("other", "target")

    def __init__(self, classifier: Classifier, target: int) -> None:
        if not 0 <= target < classifier.num_classes:
            raise InputError(f"expected a target in 0..{classifier.num_classes - 1}, got {target}")
        self.classifier, self.target = classifier, target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.classifier, name)

    def logits(self, x: Inputs, *, embeddings: Tensor | None = None) -> Tensor:
        """See `Classifier`."""
        return self._pair(self.classifier.logits(x, embeddings=embeddings))

    def predict(self, x: Inputs) -> Tensor:
        """See `Classifier`."""
        with torch.no_grad():
            return self.logits(x).argmax(dim=1)

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Loss = "ce", *, embeddings: Tensor | None = None
    ) -> LossGradient:
        """See `Classifier`."""
        function = resolve(loss)

        def towards(logits: Tensor, labels: Tensor) -> Tensor:
            return function(self._pair(logits), labels)

        answer = self.classifier.loss_gradient(x, y, towards, embeddings=embeddings)
        return answer._replace(logits=self._pair(answer.logits))

    def scorer(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """See `Classifier`."""
        score = self.classifier.scorer(x)
        return lambda batch: self._pair(score(batch))

    def _pair(self, logits: Tensor) -> Tensor:
        aim = torch.full_like(logits[:, :1], self.target, dtype=torch.int64)
        others = logits.scatter(1, aim, -torch.inf).amax(dim=1)
        return torch.stack([others, logits[:, self.target]], dim=1)
