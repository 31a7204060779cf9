"""Networks for token ids, in torch; id 0 is padding and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from xaibench.architectures.base import architectures
from xaibench.architectures.vision import TransformerBlock

__all__ = ["GRUClassifier", "TextTransformer"]


def _masked_mean(x: Tensor, tokens: Tensor) -> Tensor:
    """Mean over the positions (n, length, dim) that are not padding; zeros where all are."""
    keep = (tokens != 0).unsqueeze(-1).to(x.dtype)
    return (x * keep).sum(1) / keep.sum(1).clamp(min=1)


class _GRU(nn.Module):
    def __init__(self, config: GRUClassifier) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.dim, padding_idx=0)
        self.dropout = nn.Dropout(config.dropout)
        self.gru = nn.GRU(config.dim, config.hidden, batch_first=True, bidirectional=config.bidirectional)
        self.head = nn.Linear(config.hidden * (2 if config.bidirectional else 1), config.classes)

    def forward(self, tokens: Tensor) -> Tensor:
        states = self.gru(self.dropout(self.embedding(tokens)))[0]
        return self.head(self.dropout(_masked_mean(states, tokens)))


@architectures.register("gru")
@dataclass(frozen=True, kw_only=True)
class GRUClassifier:
    """Embedding, a gated recurrent unit (Cho et al., EMNLP 2014), the mean of its states over the words, a head."""

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int = 10_000
    dim: int = 64
    hidden: int = 64
    bidirectional: bool = False
    dropout: float = 0.3

    def build(self) -> nn.Module:
        """Logits from token ids (n, length)."""
        return _GRU(self)


class _TextTransformer(nn.Module):
    def __init__(self, config: TextTransformer) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.dim, padding_idx=0)
        self.positions = nn.Parameter(0.02 * torch.randn(1, config.input_shape[0], config.dim))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(config.dim, config.heads, config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.dropout(self.embedding(tokens) + self.positions[:, : tokens.shape[1]])
        # A text of padding alone keeps its first position: attention over nothing would be NaN.
        first = torch.arange(tokens.shape[1], device=tokens.device) == 0
        padding = (tokens == 0) & ~first
        for block in self.blocks:
            x = block(x, padding)
        return self.head(self.dropout(_masked_mean(self.norm(x), tokens)))


@architectures.register("text_transformer")
@dataclass(frozen=True, kw_only=True)
class TextTransformer:
    """Vaswani et al., *Attention is all you need* (NeurIPS 2017): an encoder, its states averaged over the words."""

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int = 10_000
    dim: int = 64
    depth: int = 2
    heads: int = 4
    dropout: float = 0.2

    def build(self) -> nn.Module:
        """Logits from token ids (n, length), length at most ``input_shape[0]``."""
        return _TextTransformer(self)
