"""Words misspelt by one character, as the model's own tokenizer reads them."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_lowercase
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.base import attacks
from xaibench.attacks.gradient import check_counts
from xaibench.attacks.text.edits import Edits, States, substitute
from xaibench.attacks.text.frame import TEXT, attack_words
from xaibench.attacks.text.ranking import importance, ranked_edits
from xaibench.attacks.text.search import beam_search
from xaibench.threats import Threat, Words
from xaibench.types import Classifier, Task

__all__ = ["CharacterEdits", "misspellings"]


@attacks.register("character_edits")
@dataclass(frozen=True, kw_only=True)
class CharacterEdits:
    """Words that matter are misspelt, one after another, until the model errs.

    After Gao et al., *Black-box generation of adversarial text sequences to evade deep learning classifiers* (2018),
    known as DeepWordBug, and Ebrahimi et al. (see `HotFlip`): two neighbouring characters swapped, one deleted, one
    inserted, one replaced, all of them tried. A misspelt word is what the model's tokenizer makes of it: mostly an
    unknown word, now and then another one; where it falls into several tokens it is left out. Words are ranked by what
    leaving them out does to the margin; each step tries the ``positions`` best-ranked ones. See `misspellings` for the
    spelling of what was found. Nothing is random.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = TEXT

    positions: int = 8
    beam: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_counts(self, "positions", "beam", "batch_size")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; ``x`` are token ids (n, length), int64."""

        def search(clean: Tensor, labels: Tensor, words: Words) -> Tensor:
            scores = importance(model, clean, labels, words, self.batch_size)
            budget = words.budget(clean)
            # No others can ever be among the best that are not edited yet.
            reach = scores.argsort(dim=1, descending=True, stable=True)[:, : self.positions + int(budget.max()) - 1]
            wanted = clean.gather(1, reach)[scores.gather(1, reach) > -torch.inf].unique()
            table = _spelling_table(model, wanted, words, clean.shape[1])

            def propose(states: States) -> Edits:
                return ranked_edits(states, scores, table, self.positions)

            return beam_search(
                model,
                clean,
                labels,
                budget,
                propose=propose,
                apply=substitute,
                beam=self.beam,
                batch_size=self.batch_size,
            )

        return attack_words(self, search, model, x, y, threat=threat)


def misspellings(word: str) -> list[str]:
    """All words that one edit of a character makes of ``word``, each once: swaps, deletions, replacements, insertions.

    >>> [len(misspellings(word)) for word in ("a", "an")]
    [76, 129]
    """
    cuts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    swaps = [a + b[1] + b[0] + b[2:] for a, b in cuts if len(b) > 1]
    deletions = [a + b[1:] for a, b in cuts if b and len(word) > 1]
    replacements = [a + c + b[1:] for a, b in cuts if b for c in ascii_lowercase]
    insertions = [a + c + b for a, b in cuts for c in ascii_lowercase]
    return [other for other in dict.fromkeys(swaps + deletions + replacements + insertions) if other != word]


def _spelling_table(model: Classifier, wanted: Tensor, words: Words, length: int) -> Tensor:
    """The ids (vocabulary, ids) that misspellings of the ``wanted`` words are read as, -1 for none more."""
    vocabulary = words.vocabulary
    spellings = {token: misspellings(vocabulary.words[token]) for token in wanted.tolist()}
    ids = _read(model, [other for group in spellings.values() for other in group], words, length)
    usable = words.allowed.clone()
    if vocabulary.unknown is not None:
        usable[vocabulary.unknown] = True
    found, begin = {}, 0
    for token, group in spellings.items():
        read = dict.fromkeys(ids[begin : begin + len(group)])
        found[token] = [other for other in read if other not in (None, token) and usable[other]]
        begin += len(group)
    width = max(map(len, found.values()), default=0)
    table = wanted.new_full((len(vocabulary.words), width), -1)
    for token, others in found.items():
        table[token, : len(others)] = wanted.new_tensor(others)
    return table


def _read(model: Classifier, spellings: list[str], words: Words, length: int) -> list[int | None]:
    """The id of each spelling that is one token to the model's tokenizer, else None; many are read in one text."""
    vocabulary = words.vocabulary
    markers = vocabulary.special - {vocabulary.unknown}
    size = max(1, length // 2)
    groups = [spellings[i : i + size] for i in range(0, len(spellings), size)]
    result: list[int | None] = []
    for group, row in zip(groups, _encoded(model, [" ".join(group) for group in groups], markers), strict=True):
        if len(row) == len(group):
            result += row
            continue
        singles = _encoded(model, group, markers)
        result += [single[0] if len(single) == 1 else None for single in singles]
    return result


def _encoded(model: Classifier, texts: list[str], markers: frozenset[int | None]) -> list[list[int]]:
    return [[token for token in row if token not in markers] for row in model.encode(texts).tolist()] if texts else []
