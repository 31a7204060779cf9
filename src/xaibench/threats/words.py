"""The threat model of texts: a few words may be edited."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.threats.edits import edit_distance, packed
from xaibench.threats.lexicon import NEGATIONS, Lexicon
from xaibench.types import Bounds, Classifier, Vocabulary

__all__ = ["Words"]


@dataclass(frozen=True)
class Words:
    """At most ``k`` words of a text may be edited: replaced, misspelt, or joined by an inserted word, each counts one.

    A word is a token of the model; none is taken out without another in its place. The first and last words stay as
    they are, as many as the shares ``keep_first`` and ``keep_last`` of the text (rounded up); no more than the share
    ``max_share`` of its words is edited (rounded down). Negations are neither removed nor added, nor put in another
    order: ``negations`` lists them. Padding and markers are no words.

    What tokens mean depends on the model: attacks fit the threat to it, see `fit`.
    """

    k: int
    _: KW_ONLY
    keep_first: float = 0.0
    keep_last: float = 0.0
    max_share: float = 1.0
    negations: tuple[str, ...] = NEGATIONS
    lexicon: Lexicon | None = field(default=None, repr=False, compare=False)
    norm: ClassVar[str] = "words"
    scale: ClassVar[None] = None

    def __post_init__(self) -> None:
        if isinstance(self.k, bool) or not 1 <= self.k < math.inf or self.k != int(self.k):
            raise InputError(f"expected k >= 1 edited words (a whole number), got {self.k}")
        if not (self.keep_first >= 0 and self.keep_last >= 0 and self.keep_first + self.keep_last < 1):
            raise InputError(
                f"expected shares `keep_first` and `keep_last` >= 0 with a sum below 1, "
                f"got {self.keep_first} and {self.keep_last}"
            )
        if not 0 < self.max_share <= 1:
            raise InputError(f"expected 0 < `max_share` <= 1, got {self.max_share}")
        object.__setattr__(self, "k", int(self.k))
        object.__setattr__(self, "negations", tuple(self.negations))

    @property
    def eps(self) -> float:
        """``k``, under the name that all threat models share."""
        return self.k

    @property
    def options(self) -> dict[str, Any]:
        """The rules beside the number of words, as JSON-able keywords."""
        shares = {"keep_first": self.keep_first, "keep_last": self.keep_last, "max_share": self.max_share}
        return {**shares, "negations": list(self.negations)}

    @property
    def vocabulary(self) -> Vocabulary:
        """That of the model that the threat was fitted to."""
        return self._fitted.vocabulary

    @property
    def allowed(self) -> Tensor:
        """Ids (vocabulary,) that may be put into a text, bool: words, but for those that negations are made of."""
        return self._fitted.plain

    def fit(self, model: Classifier) -> Words:
        """The same threat for the vocabulary of a text model."""
        if model.task != "text":
            raise UnsupportedError(f"a threat of words needs a model of text, got task {model.task!r}")
        return replace(self, lexicon=Lexicon.of(model, self.negations))

    def check(self, bounds: Bounds, input_shape: Sequence[int]) -> None:
        """Raise `InputError` where texts of this length have fewer than ``k`` words."""
        length = input_shape[-1]
        if self.k > length:
            raise InputError(f"expected 1 <= k <= {length} words, the length of a text, got {self.k}")

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Number of words edited (n,), float64, to make the texts ``a`` of the texts ``b``: the edit distance."""
        return edit_distance(b, a, self.vocabulary.padding, self.vocabulary.cut).double()

    def budget(self, clean: Tensor) -> Tensor:
        """How many words of each text (n, length) may be edited: (n,)."""
        words = (~self._fitted.padding(clean)).sum(dim=1)
        return (self.max_share * words + 1e-9).long().clamp(max=self.k)

    def editable(self, clean: Tensor) -> Tensor:
        """The positions of words that may be edited: bool (n, length)."""
        lexicon = self._fitted
        text = ~lexicon.padding(clean)
        rank = text.cumsum(dim=1) - 1
        first, last = self._kept(clean)
        inner = (rank >= first[:, None]) & (rank < text.sum(dim=1, keepdim=True) - last[:, None])
        return text & inner & lexicon.readable.to(clean.device)[clean] & ~lexicon.negating(clean)

    def keeps(self, x: Tensor, clean: Tensor) -> Tensor:
        """Whether all that must stay stayed, however many words were edited: bool (n,)."""
        lexicon = self._fitted
        empty, was_empty = lexicon.padding(x), lexicon.padding(clean)
        # A text may grow into its padding, and stays in one piece.
        whole = ~(empty & ~was_empty).any(dim=1) & (_seams(empty) <= _seams(was_empty))
        kept = [_same(x, clean, mask(x), mask(clean)) for mask in (lexicon.negating, lexicon.markers)]
        for share, backwards in zip(self._kept(clean), (False, True), strict=True):
            now, before = (packed(row, gap, backwards=backwards)[0] for row, gap in ((x, empty), (clean, was_empty)))
            beyond = torch.arange(x.shape[1], device=x.device) >= share[:, None]
            kept.append(((now == before) | beyond).all(dim=1))
        return torch.stack([whole, *kept]).all(dim=0)

    def contains(self, x: Tensor, clean: Tensor, bounds: Bounds) -> Tensor:
        """Whether each of the texts ``x`` (n, length) is allowed: bool (n,)."""
        return self.keeps(x, clean) & (self.distance(x, clean) <= self.budget(clean))

    def sample(self, *_: object) -> NoReturn:
        """Refused: see `UnsupportedError`."""
        raise UnsupportedError("token ids have no ball around them: expected linf, l2, l1 or l0, got words")

    ascend = project = sample

    @property
    def _fitted(self) -> Lexicon:
        if self.lexicon is None:
            raise InputError("expected a threat of words fitted to a model, got one without a vocabulary")
        return self.lexicon

    def _kept(self, clean: Tensor) -> tuple[Tensor, Tensor]:
        """How many words (n,) stay at the start and at the end of each text."""
        words = (~self._fitted.padding(clean)).sum(dim=1)
        first, last = ((share * words - 1e-9).ceil().long() for share in (self.keep_first, self.keep_last))
        return first, last


def _seams(gaps: Tensor) -> Tensor:
    """How often (n,) text and padding follow on each other."""
    return (gaps[:, 1:] != gaps[:, :-1]).sum(dim=1)


def _same(a: Tensor, b: Tensor, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Whether the marked ids of two batches are the same, in the same order: bool (n,)."""
    return (packed(a, ~in_a)[0] == packed(b, ~in_b)[0]).all(dim=1)
