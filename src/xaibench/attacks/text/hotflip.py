"""HotFlip: words exchanged for whatever the gradient promises most of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.attacks.base import attacks
from xaibench.attacks.gradient import check_counts
from xaibench.attacks.text.edits import Edits, States, substitute
from xaibench.attacks.text.frame import TEXT, attack_words
from xaibench.attacks.text.neighbours import check_distance, embedding_matrix
from xaibench.attacks.text.search import beam_search
from xaibench.threats import Threat, Words
from xaibench.types import Capability, Classifier, Task, require

__all__ = ["HotFlip"]


@attacks.register("hotflip")
@dataclass(frozen=True, kw_only=True)
class HotFlip:
    """Words exchanged for any of the vocabulary, chosen by the gradient with respect to the embeddings.

    Ebrahimi et al., *HotFlip: White-box adversarial examples for text classification* (ACL 2018): putting word v in the
    place of w changes the margin by the gradient there times the difference of their embeddings, to first order. The
    ``candidates`` most promising exchanges of a text are tried, and the ``beam`` texts with the largest margins edited
    on. ``max_distance`` admits only words within that cosine distance of the one they replace. Nothing is random.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = TEXT

    candidates: int = 32
    max_distance: float | None = None
    beam: int = 2
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_counts(self, "candidates", "beam", "batch_size")
        check_distance(self.max_distance)

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; ``x`` are token ids (n, length), int64."""
        require(model, self.name, Capability.EMBEDDINGS, Capability.GRADIENTS)

        def search(clean: Tensor, labels: Tensor, words: Words) -> Tensor:
            matrix = embedding_matrix(model, len(words.vocabulary.words)).float()
            editable = words.editable(clean)

            def propose(states: States) -> Edits:
                parts = [
                    model.loss_gradient(rows, labels[owner], "margin").gradient
                    for rows, owner in zip(
                        states.rows.split(self.batch_size), states.owner.split(self.batch_size), strict=True
                    )
                ]
                free = editable[states.owner] & (states.origin >= 0)
                return self._flips(states, torch.cat(parts), free, matrix, words)

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

        return attack_words(search, model, x, y, threat, batch_size=self.batch_size)

    def _flips(self, states: States, gradient: Tensor, free: Tensor, matrix: Tensor, words: Words) -> Edits:
        """The best exchanges of each text by first order; text by text, so that none depends on the others."""
        unit = F.normalize(matrix, dim=1)
        allowed = words.allowed.to(matrix.device)
        edits: list[tuple[Tensor, Tensor, Tensor]] = []
        for row, slope, where in zip(states.rows, gradient, free.unbind(), strict=True):
            at = where.nonzero().flatten()
            now, slope = row[at], slope[at].to(matrix)  # noqa: PLW2901
            gain = slope @ matrix.T - (slope * matrix[now]).sum(dim=1, keepdim=True)
            gain = gain.masked_fill(~allowed, -torch.inf).scatter(1, now[:, None], -torch.inf)
            if self.max_distance is not None:
                gain = gain.masked_fill(unit[now] @ unit.T < 1 - self.max_distance, -torch.inf)
            best, flat = gain.flatten().topk(min(self.candidates, gain.numel()))
            flat = flat[best > -torch.inf]
            edits.append((torch.full_like(flat, len(edits)), at[flat // len(matrix)], flat % len(matrix)))
        return Edits(*map(torch.cat, zip(*edits, strict=True)))
