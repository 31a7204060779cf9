"""What an explainer returns: the attributions, how they came about, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaibench.explainers.trust import Trust

__all__ = ["Attribution", "Cost"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Passes through the model, counted in samples, and wall-clock seconds."""

    forward: int
    backward: int
    seconds: float = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """Attributions for a batch of n samples, with all that is needed to make them again."""

    values: Tensor
    """In the shape of the inputs: (n, channels, height, width), (n, features), or (n, length) per token for text."""
    target: Tensor
    """(n,), int64: the classes whose logits are explained."""
    baseline: Tensor | None
    """The reference inputs, shaped as the inputs (token ids for text); None for methods without one or with many."""
    method: str
    params: Mapping[str, Any]
    """All fields of the explainer; a tensor among them appears as ``"given"``."""
    seed: int
    words: tuple[tuple[str, ...], ...] | None = None
    """For text, the words that values stand for, where the model has a tokenizer; padding is an empty string."""
    stderr: Tensor | None = None
    """Standard errors, shaped as ``values``, for methods that sample."""
    trust: Trust
    """What the checks of these values found."""
    cost: Cost
    """Of the values alone, without that of checks that explain again."""

    @property
    def worded(self) -> Tensor | None:
        """Where the words of texts are, (n, length) bool; None for other inputs, and where they cannot be told."""
        if self.words is None:
            return None
        return torch.tensor([[word != "" for word in text] for text in self.words], device=self.values.device)

    @property
    def completeness_gap(self) -> Tensor | None:
        """(n,): how far the values miss the change of the logit from the baseline to the input that they should add up
        to, relative to it; None for methods that do not promise completeness."""
        return self.trust.completeness_gap

    def __repr__(self) -> str:
        from xaibench.explainers.drawn import attribution_line

        return attribution_line(self)

    def _repr_html_(self) -> str:
        from xaibench.explainers.drawn import attribution_html

        return attribution_html(self)
