"""The fewest words to take out of a text, or to exchange, until a model decides otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.attacks.text.neighbours import embedding_matrix
from xaibench.counterfactuals.goal import Goal
from xaibench.counterfactuals.result import CounterfactualResult, Edit
from xaibench.errors import InputError
from xaibench.explainers.base import Targets
from xaibench.threats.lexicon import Lexicon
from xaibench.types import Capability, Classifier, Inputs, Vocabulary, model_inputs, require

__all__ = ["KEPT", "REMOVED", "WordEdits", "WordSearch", "edited", "word_counterfactuals"]

WordEdits = Literal["remove", "replace", "both"]
"""What may be done to a word."""

_EXCHANGES = 64
KEPT, REMOVED = -2, -1
"""What a plan says of a word; otherwise it is the id of the word that takes its place."""


def edited(clean: Tensor, plan: Tensor, padding: int) -> Tensor:
    """Texts (m, length) with the words of each ``plan`` (m, length) exchanged and taken out.

    What is taken out closes up, and the row is filled up where its padding is.

    >>> edited(torch.tensor([[5, 6, 7, 0]]), torch.tensor([[-2, -1, 9, -2]]), padding=0)
    tensor([[5, 9, 0, 0]])
    """
    rows = torch.where(plan >= 0, plan, clean)
    gap = plan == REMOVED
    left = clean[:, :1] == padding
    rank = torch.where(left, (~gap).long(), gap.long())
    order = rank.argsort(dim=1, stable=True)
    return rows.masked_fill(gap, padding).gather(1, order)


@dataclass(frozen=True, kw_only=True)
class WordSearch:
    """Edits words, one more at each level, and stops at the first level on which a text reaches the goal.

    On each level every word of the ``beam`` leading texts is taken out (``remove``), and the ``candidates`` exchanges
    that promise most by the gradient at the embeddings are made (``replace``, after Ebrahimi et al., *HotFlip*, ACL
    2018), with any word of the vocabulary. Of several texts that reach the goal on a level, the one that leads most is
    taken, and edits that it does not need are undone. Without ``replace``, and with a beam that holds all texts, none
    has fewer edits.
    """

    goal: Goal
    remove: bool
    replace: bool
    most: int
    beam: int
    candidates: int
    stay: tuple[int, ...] = ()
    """Token ids that are not touched."""

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Plans (n, length) for texts ``x`` (n, length), see `edited`, and whether one was found: bool (n,)."""
        lexicon = Lexicon.of(self.goal.model, ())
        free = lexicon.readable.to(x.device)[x] & ~torch.isin(x, x.new_tensor(self.stay))
        matrix = embedding_matrix(self.goal.model, len(lexicon.vocabulary.words)) if self.replace else None
        plans, found = torch.full_like(x, KEPT), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for row in range(len(x)):
            plan = self._search(row, x[row], free[row], lexicon, matrix)
            if plan is not None:
                plans[row], found[row] = self._pruned(row, x[row], plan, lexicon), True
        return plans, found

    def _search(self, row: int, clean: Tensor, free: Tensor, lexicon: Lexicon, matrix: Tensor | None) -> Tensor | None:
        states = torch.full_like(clean, KEPT)[None]
        for _ in range(min(self.most, int(free.sum()))):
            children = [self._removals(states, free)] if self.remove else []
            if matrix is not None:
                children.append(self._exchanges(row, clean, states, free=free, matrix=matrix, lexicon=lexicon))
            plans = torch.cat(children).unique(dim=0)
            if not len(plans):
                return None
            lead = self._lead(row, clean, plans, lexicon)
            best = lead.argsort(descending=True, stable=True)[: self.beam]
            if float(lead[best[0]]) > 0:
                return plans[best[0]]
            states = plans[best]
        return None

    def _removals(self, states: Tensor, free: Tensor) -> Tensor:
        parent, place = ((states == KEPT) & free).nonzero(as_tuple=True)
        return states[parent].scatter(1, place[:, None], REMOVED)

    def _exchanges(
        self, row: int, clean: Tensor, states: Tensor, *, free: Tensor, matrix: Tensor, lexicon: Lexicon
    ) -> Tensor:
        """Of each state the exchanges with the largest first-order gain."""
        padding = lexicon.vocabulary.padding
        origin = clean.expand_as(states)
        texts = edited(origin, states, padding)
        # Where each word of the clean text stands in the edited one.
        marks = torch.arange(1, len(clean) + 1, device=clean.device).expand_as(states)
        gone = torch.where(states == REMOVED, REMOVED, KEPT)
        spots = edited(marks.masked_fill(origin == padding, 0), gone, 0)
        usable = lexicon.plain.to(clean.device)
        owner = torch.full((len(states),), row, device=clean.device)
        aims = self._aim(texts, row)
        _, gradient, _ = self.goal.slope(texts, owner, aims)
        found = []
        for state, slope, where in zip(states, gradient.double(), spots, strict=True):
            at = where.nonzero().flatten()
            place = where[at] - 1
            kept = (state[place] == KEPT) & free[place]
            at, place = at[kept], place[kept]
            if not len(at):
                continue
            now = clean[place]
            gain = slope[at] @ matrix.T - (slope[at] * matrix[now]).sum(dim=1, keepdim=True)
            gain = gain.masked_fill(~usable, -torch.inf).scatter(1, now[:, None], -torch.inf).flatten()
            top = gain.argsort(descending=True, stable=True)[: self.candidates]
            top = top[gain[top] > -torch.inf]
            exchange = state.expand(len(top), -1).clone()
            found.append(exchange.scatter(1, place[top // len(matrix)][:, None], (top % len(matrix))[:, None]))
        return torch.cat(found) if found else states[:0]

    def _aim(self, texts: Tensor, row: int) -> Tensor:
        """The class that each text is to be moved to: the one asked for, or the likeliest other."""
        if self.goal.targets is not None:
            return self.goal.targets[row].expand(len(texts))
        with torch.no_grad():
            logits = self.goal.model.logits(texts)
        logits[:, self.goal.labels[row]] = -torch.inf
        return logits.argmax(dim=1)

    def _pruned(self, row: int, clean: Tensor, plan: Tensor, lexicon: Lexicon) -> Tensor:
        """``plan`` without the edits that the goal does not need."""
        for place in (plan != KEPT).nonzero().flatten().tolist():
            trial = plan.clone()
            trial[place] = KEPT
            if float(self._lead(row, clean, trial[None], lexicon)) > 0:
                plan = trial
        return plan

    def _lead(self, row: int, clean: Tensor, plans: Tensor, lexicon: Lexicon) -> Tensor:
        texts = edited(clean.expand_as(plans), plans, lexicon.vocabulary.padding)
        return self.goal.lead(texts, torch.full((len(plans),), row, device=clean.device))


def _ids(goal: Goal, words: Sequence[str]) -> tuple[int, ...]:
    """Token ids of words that are to stay; one that the vocabulary lacks raises `InputError`."""
    known = {word: index for index, word in enumerate(goal.model.vocabulary.words)}
    missing = next((word for word in words if word not in known), None)
    if missing is not None:
        raise InputError(f"expected words of the model's vocabulary to stay, got {missing!r}")
    return tuple(known[word] for word in words)


def _can_replace(goal: Goal) -> bool:
    """Whether a model has the embeddings and gradients by which exchanges are found."""
    return {Capability.EMBEDDINGS, Capability.GRADIENTS} <= goal.model.capabilities


def word_counterfactuals(
    model: Classifier,
    inputs: Inputs,
    targets: Targets,
    *,
    stay: Sequence[str],
    words: WordEdits,
    most: int,
    beam: int,
) -> CounterfactualResult:
    """Counterfactuals of texts (n strings or token ids), see `counterfactual`; ``stay`` are words not to touch."""
    if words not in ("remove", "replace", "both"):
        raise InputError(f"expected words as remove, replace or both, got {words!r}")
    x = model_inputs(model, inputs).detach().to(model.device)
    goal = Goal.of(model, x, targets)
    notes: tuple[str, ...] = ()
    if words == "replace":
        require(model, "exchanging words", Capability.GRADIENTS, Capability.EMBEDDINGS)
    elif words == "both" and not _can_replace(goal):
        notes = ("words were only taken out, for the model has no gradients at embeddings",)
    search = WordSearch(
        goal=goal,
        remove=words != "replace",
        replace=words != "remove" and _can_replace(goal),
        most=most,
        beam=beam,
        candidates=_EXCHANGES,
        stay=_ids(goal, stay),
    )
    vocabulary = model.vocabulary
    plans, found = search(x)
    already = goal.targets == goal.labels if goal.targets is not None else torch.zeros_like(found)
    plans = plans.masked_fill(already[:, None], KEPT)
    rows = edited(x, plans, vocabulary.padding)
    after = model.predict(rows)
    found = after == goal.targets if goal.targets is not None else after != goal.labels
    plans = plans.masked_fill(~found[:, None], KEPT)
    changed = (plans != KEPT).sum(dim=1)
    return CounterfactualResult(
        inputs=torch.where(found[:, None], rows, x),
        original=x,
        found=found,
        distance=changed.double().masked_fill(~found, torch.inf),
        changed=changed,
        before=goal.labels,
        after=torch.where(found, after, goal.labels),
        norm="words",
        class_names=model.class_names,
        edits=tuple(_word_edits(row, plan, vocabulary) for row, plan in zip(x, plans, strict=True)),
        notes=notes,
    )


def _word_edits(clean: Tensor, plan: Tensor, vocabulary: Vocabulary) -> tuple[Edit, ...]:
    """The changes of one text (length,) in reading order; words count from 1."""
    number = (clean != vocabulary.padding).cumsum(dim=0)
    return tuple(
        Edit(
            f"word {int(number[place])}",
            vocabulary.words[int(clean[place])],
            None if plan[place] == REMOVED else vocabulary.words[int(plan[place])],
        )
        for place in (plan != KEPT).nonzero().flatten().tolist()
    )
