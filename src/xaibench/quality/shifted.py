"""A model that takes its inputs shifted, and does the same on them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xaibench.types import Bounds, Capability, Classifier, Loss, LossGradient

__all__ = ["Shifted"]

_SAME = {"class_names", "device", "framework", "input_shape", "layers", "num_classes", "task", "tokens", "vocabulary"}


class Shifted:
    """``model`` on inputs to which ``offset``, broadcastable to one of them, was added.

    It has no card, no graph and no module that hooks could see: they would speak of inputs that are not shifted.
    """

    card = None

    def __init__(self, model: Classifier, offset: Tensor) -> None:
        self._model, self._offset = model, offset
        low, high = model.bounds.tensors(offset)
        shape = offset.shape
        ends = [limit.expand(shape) + offset if limit.ndim else limit + offset for limit in (low, high)]
        sides = [tuple(end.flatten().tolist()) if end.numel() > 1 else float(end) for end in ends]
        self.bounds = Bounds(*sides)

    def __getattr__(self, name: str) -> Any:
        if name not in _SAME:  # a graph or a module of the model would take inputs that are not shifted
            raise AttributeError(name)
        return getattr(self._model, name)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Those of the model, without its module."""
        return self._model.capabilities - {Capability.TORCH_MODULE}

    @property
    def limits(self) -> dict[Capability, str]:
        """Those of the model, and the missing module."""
        return {**self._model.limits, Capability.TORCH_MODULE: "its inputs are shifted"}

    def logits(self, x: Tensor, *, embeddings: Tensor | None = None) -> Tensor:
        """See `Classifier`."""
        return self._model.logits(self._back(x if embeddings is None else embeddings))

    def predict(self, x: Tensor) -> Tensor:
        """See `Classifier`."""
        return self._model.predict(self._back(x))

    def scorer(self, x: Tensor) -> Any:
        """See `Classifier`."""
        score = self._model.scorer(self._back(x))
        return lambda batch: score(self._back(batch))

    def footprint(self, x: Tensor) -> int:
        """See `Classifier`."""
        return self._model.footprint(self._back(x))

    def embed(self, x: Tensor) -> Tensor:
        """See `Classifier`."""
        return self._model.embed(x)

    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Loss = "ce", *, embeddings: Tensor | None = None
    ) -> LossGradient:
        """See `Classifier`."""
        return self._model.loss_gradient(self._back(x if embeddings is None else embeddings), y, loss)

    def activations(self, x: Tensor, layer: str) -> Tensor:
        """See `Classifier`."""
        return self._model.activations(self._back(x), layer)

    def activation_gradient(self, x: Tensor, layer: str, y: Tensor) -> LossGradient:
        """See `Classifier`."""
        return self._model.activation_gradient(self._back(x), layer, y)

    def logits_from(self, x: Tensor, layer: str, activations: Tensor) -> Tensor:
        """See `Classifier`."""
        return self._model.logits_from(self._back(x), layer, activations)

    def attention(self, x: Tensor) -> dict[str, Tensor]:
        """See `Classifier`."""
        return self._model.attention(self._back(x))

    def attention_gradient(self, x: Tensor, y: Tensor) -> Any:
        """See `Classifier`."""
        return self._model.attention_gradient(self._back(x), y)

    def randomised(self, seed: int = 0, layers: Any = None) -> Shifted:
        """See `Classifier`."""
        return Shifted(self._model.randomised(seed, layers), self._offset)

    def _back(self, x: Tensor) -> Tensor:
        return x - self._offset.to(x) if torch.is_floating_point(x) else x
