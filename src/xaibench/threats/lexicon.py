"""Which token ids are words that may be exchanged, and which runs of ids negate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.types import Classifier, Vocabulary

__all__ = ["NEGATIONS", "Lexicon"]

_SAYING_NO = "barely cannot hardly neither never no nobody none nor not nothing nowhere scarcely without"
_CONTRACTED = (
    "ain aren can couldn didn doesn don hadn hasn haven isn mightn mustn needn shan shouldn wasn weren won wouldn"
)
NEGATIONS: tuple[str, ...] = (*_SAYING_NO.split(), *(f"{stem}'t" for stem in _CONTRACTED.split()), "'t")
"""English words that negate, and contractions of "not"; a lone ``'t`` is what many tokenizers leave of the latter."""


@dataclass(frozen=True)
class Lexicon:
    """A vocabulary, and the runs of token ids that the negations are for its tokenizer."""

    vocabulary: Vocabulary
    negations: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, model: Classifier, negations: Sequence[str]) -> Lexicon:
        """Read a model's vocabulary; without a tokenizer there are no words, so none of them negates."""
        vocabulary = model.vocabulary
        spellings = [word.replace("'", mark) for word in negations for mark in "'’"]
        try:
            rows = model.encode(spellings).tolist() if spellings else []
        except UnsupportedError:
            rows = []
        markers = vocabulary.special - {vocabulary.unknown}
        runs = {tuple(token for token in row if token not in markers) for row in rows}
        whole = {(i,) for i, word in enumerate(vocabulary.words) if word.lower().endswith(("n't", "n’t"))}
        known = {run for run in runs | (whole if negations else set()) if run and vocabulary.unknown not in run}
        return cls(vocabulary, tuple(sorted(known)))

    @cached_property
    def plain(self) -> Tensor:
        """Ids (vocabulary,) that may be put into a text: words, but for those that negations are made of; bool."""
        allowed = self.readable.clone()
        allowed[[token for run in self.negations for token in run]] = False
        return allowed

    @cached_property
    def readable(self) -> Tensor:
        """Ids (vocabulary,) that are words, bool: no padding, markers, unknown words or punctuation."""
        special = self.vocabulary.special
        words = enumerate(self.vocabulary.words)
        return torch.tensor([token not in special and any(map(str.isalnum, word)) for token, word in words])

    def negating(self, x: Tensor) -> Tensor:
        """The positions of token ids (n, length) that are part of a negation: bool."""
        found = torch.zeros_like(x, dtype=torch.bool)
        for run in self.negations:
            starts = x.shape[1] - len(run) + 1
            if starts < 1:
                continue
            match = torch.stack([x[:, i : i + starts] == token for i, token in enumerate(run)]).all(dim=0)
            for i in range(len(run)):
                found[:, i : i + starts] |= match
        return found

    def markers(self, x: Tensor) -> Tensor:
        """The positions of special tokens other than padding and unknown words: bool."""
        vocabulary = self.vocabulary
        ids = sorted(vocabulary.special - {vocabulary.padding, vocabulary.unknown})
        return torch.isin(x, x.new_tensor(ids))

    def padding(self, x: Tensor) -> Tensor:
        """The positions of padding: bool."""
        return x == self.vocabulary.padding
