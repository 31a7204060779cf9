"""Networks for tables, in torch."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from xaibench.architectures.base import architectures

__all__ = ["MLP"]


@architectures.register("mlp")
@dataclass(frozen=True, kw_only=True)
class MLP:
    """Dense layers with ReLU and dropout."""

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    hidden: tuple[int, ...] = (32, 16)
    dropout: float = 0.1

    def build(self) -> nn.Module:
        """Logits from (n, features)."""
        (features,) = self.input_shape
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index, (before, after) in enumerate(zip((features, *self.hidden), self.hidden, strict=False), start=1):
            layers[f"dense{index}"] = nn.Linear(before, after)
            layers[f"relu{index}"] = nn.ReLU()
            layers[f"dropout{index}"] = nn.Dropout(self.dropout)
        layers["head"] = nn.Linear(self.hidden[-1], self.classes)
        return nn.Sequential(layers)
