"""HotFlip: words exchanged for whatever the gradient promises most of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.base import attacks
from xaibench.attacks.gradient import check_counts
from xaibench.attacks.text.edits import Edits, States, substitute
from xaibench.attacks.text.frame import TEXT, attack_words
from xaibench.attacks.text.neighbours import check_distance, embedding_matrix, neighbour_table
from xaibench.attacks.text.search import beam_search, steady
from xaibench.threats import Threat, Words
from xaibench.types import Capability, Classifier, Task

__all__ = ["HotFlip"]


@attacks.register("hotflip")
@dataclass(frozen=True, kw_only=True)
class HotFlip:
    """Words exchanged for any of the vocabulary, chosen by the gradient with respect to the embeddings.

    Ebrahimi et al., *HotFlip: White-box adversarial examples for text classification* (ACL 2018): putting word v in the
    place of w changes the margin by the gradient there times the difference of their embeddings, to first order. The
    ``candidates`` most promising exchanges of a text are tried, and the ``beam`` texts with the largest margins edited
    on. ``neighbours`` and ``max_distance`` admit only that many nearest words, within that cosine distance of the one
    replaced, in the model's own embedding. Nothing is random.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = TEXT

    candidates: int = 32
    neighbours: int | None = None
    max_distance: float | None = None
    beam: int = 2
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_counts(self, "candidates", "neighbours", "beam", "batch_size")
        check_distance(self.max_distance)

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; ``x`` are token ids (n, length), int64."""

        def search(clean: Tensor, labels: Tensor, words: Words) -> Tensor:
            matrix = embedding_matrix(model, len(words.vocabulary.words))
            editable, admitted = words.editable(clean), self._admitted(matrix, clean, words)

            def propose(states: States) -> Edits:
                batches = zip(states.rows.split(self.batch_size), states.owner.split(self.batch_size), strict=True)
                gradient = torch.cat(
                    [model.loss_gradient(rows, labels[owner], "margin").gradient for rows, owner in batches]
                )
                vectors = matrix.to(gradient)
                free = editable[states.owner] & (states.origin >= 0)
                flips = []
                # Text by text, so that none depends on the others.
                for index, (row, slope, where) in enumerate(zip(states.rows, gradient, free, strict=True)):
                    at = where.nonzero().flatten()
                    gain = _first_order(slope[at], vectors, row[at]).masked_fill(~admitted(row[at]), -torch.inf)
                    flat = _largest(gain.flatten(), self.candidates)
                    flips.append((torch.full_like(flat, index), at[flat // len(matrix)], flat % len(matrix)))
                return Edits(*map(torch.cat, zip(*flips, strict=True)))

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

        return attack_words(
            self, search, model, x, y, threat=threat, needs=(Capability.EMBEDDINGS, Capability.GRADIENTS)
        )

    def _admitted(self, matrix: Tensor, clean: Tensor, words: Words) -> Callable[[Tensor], Tensor]:
        """Which of the vocabulary may stand for each of given words (w,): bool (w, vocabulary)."""
        allowed = words.allowed.to(matrix.device)
        if self.neighbours is None and self.max_distance is None:
            return lambda now: allowed.expand(len(now), -1).scatter(1, now[:, None], False)
        table = neighbour_table(matrix, clean, words, self.neighbours or len(matrix), self.max_distance)

        def near(now: Tensor) -> Tensor:
            others = torch.where(table[now] < 0, now[:, None], table[now])
            mask = torch.zeros(len(now), len(matrix), dtype=torch.bool, device=now.device)
            return mask.scatter(1, others, True).scatter(1, now[:, None], False)

        return near


def _first_order(slope: Tensor, matrix: Tensor, now: Tensor) -> Tensor:
    """How much the margin rises to first order (w, vocabulary) when each word of the vocabulary replaces ``now`` (w,).

    ``slope`` (w, dimension) is the gradient at these words.
    """
    return slope @ matrix.T - (slope * matrix[now]).sum(dim=1, keepdim=True)


def _largest(gain: Tensor, count: int) -> Tensor:
    """Positions of the ``count`` largest finite values, largest first, the first of equals."""
    best, position = gain.topk(min(2 * count, len(gain)))
    position, order = position[best > -torch.inf].sort()
    return position[steady(best[order]).argsort(descending=True, stable=True)][:count]
