"""Which words of a text matter to a model, and edits of those that do."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.attacks.text.edits import Edits, States, removed
from xaibench.attacks.text.search import margins
from xaibench.threats import Words
from xaibench.types import Classifier

__all__ = ["importance", "ranked_edits"]


def importance(model: Classifier, clean: Tensor, labels: Tensor, threat: Words, batch_size: int) -> Tensor:
    """How much the margin (n, length) rises when a word is left out; -inf where no word may be edited.

    Jin et al., *Is BERT really robust?* (AAAI 2020), rank words so.
    """
    editable = threat.editable(clean)
    owner, position = editable.nonzero(as_tuple=True)
    scores = torch.full(clean.shape, -torch.inf, dtype=torch.float64, device=clean.device)
    if not len(owner):
        return scores
    padding = threat.vocabulary.padding
    before, _ = margins(model, clean, labels, batch_size)
    after = [
        margins(model, removed(clean[sample], at, padding), labels[sample], batch_size)[0]
        for sample, at in zip(owner.split(batch_size), position.split(batch_size), strict=True)
    ]
    scores[owner, position] = torch.cat(after) - before[owner]
    return scores


def ranked_edits(states: States, scores: Tensor, table: Tensor, positions: int) -> Edits:
    """To put the words of ``table`` (vocabulary, words), -1 for none, at the ``positions`` best unedited words.

    ``scores`` (n, length) belong to the places in the clean texts, -inf where nothing may be edited.
    """
    score = scores[states.owner].gather(1, states.origin.clamp_min(0)).masked_fill(states.origin < 0, -torch.inf)
    best = score.argsort(dim=1, descending=True, stable=True)[:, :positions]
    words = table[states.rows.gather(1, best)]
    usable = (words >= 0) & (score.gather(1, best) > -torch.inf)[:, :, None]
    parent, place, choice = usable.nonzero(as_tuple=True)
    return Edits(parent, best[parent, place], words[parent, place, choice])
