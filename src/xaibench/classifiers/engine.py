"""What a framework must be able to do for `ModelClassifier` to stand on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from xaibench.types import AttentionGradient, Capability, LossGradient

__all__ = ["Engine", "InnerEngine"]


class Engine(Protocol):
    """What differs between frameworks: running a model on checked inputs in input units.

    Tensors are as in `Classifier`; ``loss`` is a function of logits and labels.
    """

    @property
    def framework(self) -> str: ...
    @property
    def dtype(self) -> torch.dtype: ...
    @property
    def vocabulary(self) -> int | None:
        """Number of token ids that the embedding knows, where that is known."""
        ...

    @property
    def input_shape(self) -> tuple[int | None, ...] | None: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def layers(self) -> tuple[str, ...]: ...
    @property
    def limits(self) -> Mapping[Capability, str]:
        """What is missing, and why; complete once the model has been run."""
        ...

    def candidates(self) -> Iterable[tuple[int | None, ...]]:
        """Input shapes worth trying where none is known."""
        ...

    def state(self) -> Iterable[tuple[str, np.ndarray]]:
        """All numbers that the model has learned, by name."""
        ...

    def description(self) -> str:
        """What is computed with them, in words that no other process would choose otherwise."""
        ...

    def footprint(self, x: Tensor) -> int:
        """Bytes that the layers' outputs take for the batch ``x``, about."""
        ...

    def randomised(self, seed: int, layers: Sequence[str] | None) -> Engine:
        """An engine of its own, over a copy of the model with random weights in the named layers, or all."""
        ...

    def to(self, device: torch.device) -> None: ...
    def logits(self, x: Tensor, embeddings: Tensor | None) -> Tensor: ...
    def loss_gradient(
        self, x: Tensor, y: Tensor, loss: Callable[[Tensor, Tensor], Tensor], embeddings: Tensor | None
    ) -> LossGradient: ...


class InnerEngine(Engine, Protocol):
    """An engine whose layers can be reached."""

    def embed(self, x: Tensor) -> Tensor: ...
    def activations(self, x: Tensor, layer: str) -> Tensor: ...
    def activation_gradient(self, x: Tensor, layer: str, y: Tensor) -> LossGradient: ...
    def logits_from(self, x: Tensor, layer: str, activations: Tensor) -> Tensor: ...
    def attention(self, x: Tensor) -> dict[str, Tensor]: ...
    def attention_gradient(self, x: Tensor, y: Tensor) -> dict[str, AttentionGradient]: ...
