"""Words exchanged for, or joined by, their neighbours in the model's own embedding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.base import attacks
from xaibench.attacks.gradient import check_counts
from xaibench.attacks.text.edits import Edits, States, insert, substitute
from xaibench.attacks.text.frame import TEXT, attack_words
from xaibench.attacks.text.neighbours import check_distance, embedding_matrix, neighbour_table
from xaibench.attacks.text.ranking import importance, ranked_edits
from xaibench.attacks.text.search import beam_search
from xaibench.threats import Threat, Words
from xaibench.types import Capability, Classifier, Task

__all__ = ["WordInsertion", "WordSubstitution"]


@attacks.register("word_substitution")
@dataclass(frozen=True, kw_only=True)
class WordSubstitution:
    """Words that matter are exchanged for their neighbours, one after another, until the model errs.

    After Alzantot et al., *Generating natural language adversarial examples* (EMNLP 2018), and Jin et al., *Is BERT
    really robust?* (AAAI 2020): words are ranked by what leaving them out does to the margin; each step tries the
    ``neighbours`` nearest words, within the cosine distance ``max_distance``, at the ``positions`` best-ranked words,
    and goes on from the ``beam`` texts with the largest margins. Neighbours are those of the model's own embedding:
    words that the model uses alike, which need not be synonyms. Nothing is random.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = TEXT

    positions: int = 16
    neighbours: int = 12
    max_distance: float | None = None
    beam: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_counts(self, "positions", "neighbours", "beam", "batch_size")
        check_distance(self.max_distance)

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; ``x`` are token ids (n, length), int64."""

        def search(clean: Tensor, labels: Tensor, words: Words) -> Tensor:
            scores = importance(model, clean, labels, words, self.batch_size)
            table = neighbour_table(_matrix(model, words), clean, words, self.neighbours, self.max_distance)

            def propose(states: States) -> Edits:
                return ranked_edits(states, scores, table, self.positions)

            budget = words.budget(clean)
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

        return attack_words(self, search, model, x, y, threat=threat, needs=(Capability.EMBEDDINGS,))


@attacks.register("word_insertion")
@dataclass(frozen=True, kw_only=True)
class WordInsertion:
    """Words that already speak against the label are joined by their neighbours, until the model errs.

    Inserted words are repetitions in the model's own terms: behind each of the ``positions`` words whose absence would
    make the model surest of the label, one of its ``neighbours`` nearest words in the model's own embedding, within
    the cosine distance ``max_distance``. Search as in `WordSubstitution`. Where a text fills its row, the word at the
    end that the tokenizer cuts falls out; if that one must stay, there is no result.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = TEXT

    positions: int = 16
    neighbours: int = 12
    max_distance: float | None = None
    beam: int = 1
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_counts(self, "positions", "neighbours", "beam", "batch_size")
        check_distance(self.max_distance)

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; ``x`` are token ids (n, length), int64."""

        def search(clean: Tensor, labels: Tensor, words: Words) -> Tensor:
            scores = importance(model, clean, labels, words, self.batch_size)
            against = torch.where(scores.isfinite(), -scores, scores)
            table = neighbour_table(_matrix(model, words), clean, words, self.neighbours, self.max_distance)

            def apply(states: States, edits: Edits) -> States:
                return insert(states, edits, _leftwards(states.rows, words))

            def propose(states: States) -> Edits:
                return _inside(states, ranked_edits(states, against, table, self.positions), words)

            budget = words.budget(clean)
            return beam_search(
                model, clean, labels, budget, propose=propose, apply=apply, beam=self.beam, batch_size=self.batch_size
            )

        return attack_words(self, search, model, x, y, threat=threat, needs=(Capability.EMBEDDINGS,))


def _matrix(model: Classifier, words: Words) -> Tensor:
    return embedding_matrix(model, len(words.vocabulary.words))


def _leftwards(rows: Tensor, words: Words) -> Tensor:
    """Whether an insertion moves what is before it: where padding is in front, or a full row is cut there: bool."""
    padding, cut = words.vocabulary.padding, words.vocabulary.cut
    full = (rows != padding).all(dim=1)
    return torch.where(full, torch.tensor(cut == "left", device=rows.device), rows[:, 0] == padding)


def _inside(states: States, edits: Edits, words: Words) -> Edits:
    """The insertions that do not push the very word out of its row that they stand behind."""
    ends = torch.where(_leftwards(states.rows, words), 0, states.rows.shape[1] - 1)
    return edits.take((edits.position != ends[edits.parent]).nonzero().flatten())
