"""The one search behind all attacks on text: edit a word, keep the best texts, edit the next."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xaibench.attacks.text.edits import Edits, States
from xaibench.losses import margin
from xaibench.rng import SampleRng
from xaibench.types import Classifier

__all__ = ["Apply", "Propose", "beam_search", "margins", "steady"]

Propose = Callable[[States], Edits]
"""Edits worth trying, for each state on its own."""

Apply = Callable[[States, Edits], States]
"""From states (c,) and one edit for each to the edited texts."""

_BITS = 16


def beam_search(
    model: Classifier,
    clean: Tensor,
    labels: Tensor,
    budget: Tensor,
    *,
    propose: Propose,
    apply: Apply,
    beam: int,
    batch_size: int,
) -> Tensor:
    """Texts (n, length) that fool the model after the fewest edits that the search finds; else the clean ones.

    All samples move together, one edit at a time: of all edited texts of a sample the ``beam`` ones with the largest
    margin are edited on. A sample is done as soon as one fools the model, or when its ``budget`` (n,) is spent. So the
    result at a budget is also the result at every smaller one that it fits. What is found for a sample depends on it
    alone.
    """
    found = clean.clone()
    states = States.start(clean)
    for depth in range(int(budget.max())):
        states = states.take((budget[states.owner] > depth).nonzero().flatten())
        if not len(states.owner):
            break
        edits = _by_rank(propose(states), states.owner)
        if not len(edits.parent):
            break
        values, wrong = _evaluate(model, labels, states, edits, apply=apply, batch_size=batch_size)
        owner = states.owner[edits.parent]
        first = _first(owner, wrong)
        found[owner[first]] = _applied(states, edits.take(first), apply).rows
        left = torch.isin(owner, owner[first], invert=True)
        states = _best(states, edits, values.masked_fill(~left, -torch.inf), apply, beam)
    return found


def margins(model: Classifier, rows: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Margins (n,) of texts, float64, positive where the model answers otherwise, and whether it does: bool (n,).

    They are rounded (see `steady`), so that the order of the texts decides between equal ones.
    """
    values, wrong = [], []
    with torch.no_grad():
        for part, y in zip(rows.split(batch_size), labels.split(batch_size), strict=True):
            logits = model.logits(part)
            values.append(steady(margin(logits, y).double()))
            wrong.append(logits.argmax(dim=1) != y)
    return torch.cat(values), torch.cat(wrong)


def steady(values: Tensor) -> Tensor:
    """Values rounded to 16 bits, so that those that differ by the arithmetic of other batches alone are equal."""
    mantissa, exponent = values.frexp()
    return torch.ldexp((mantissa * 2**_BITS).round() / 2**_BITS, exponent)


def _evaluate(
    model: Classifier, labels: Tensor, states: States, edits: Edits, *, apply: Apply, batch_size: int
) -> tuple[Tensor, Tensor]:
    """Margins (c,) of the edited texts, and which of them fool the model.

    The most promising of every sample come first, and what follows on a success of the same sample is left out.
    """
    owner = states.owner[edits.parent]
    values = torch.full(owner.shape, -torch.inf, dtype=torch.float64, device=owner.device)
    wrong = torch.zeros_like(owner, dtype=torch.bool)
    done = torch.zeros_like(labels, dtype=torch.bool)
    waiting = torch.arange(len(owner), device=owner.device)
    while len(waiting):
        part, waiting = waiting[:batch_size], waiting[batch_size:]
        rows = _applied(states, edits.take(part), apply).rows
        values[part], wrong[part] = margins(model, rows, labels[owner[part]], batch_size)
        done[owner[part[wrong[part]]]] = True
        waiting = waiting[~done[owner[waiting]]]
    return values, wrong


def _applied(states: States, edits: Edits, apply: Apply) -> States:
    return apply(states.take(edits.parent), edits)


def _by_rank(edits: Edits, owner: Tensor) -> Edits:
    """First the most promising edit of every sample, then the second, and so on."""
    rank = _rank(owner[edits.parent])
    return edits.take(rank.argsort(stable=True))


def _rank(groups: Tensor) -> Tensor:
    """How many earlier elements are of the same group: (c,)."""
    order = groups.argsort(stable=True)
    ordered = groups[order]
    place = torch.arange(len(groups), device=groups.device)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    start = torch.where(begins, place, 0).cummax(dim=0).values
    return torch.empty_like(place).scatter(0, order, place - start)


def _first(owner: Tensor, wrong: Tensor) -> Tensor:
    """The position of each sample's first success."""
    positions = wrong.nonzero().flatten()
    return positions[_rank(owner[positions]) == 0]


def _best(states: States, edits: Edits, values: Tensor, apply: Apply, beam: int) -> States:
    """The ``beam`` edited texts of each sample with the largest values, each text once."""
    order = values.argsort(descending=True, stable=True)
    order = order[values[order] > -torch.inf]
    owner = states.owner[edits.parent]
    spare = order[_rank(owner[order]) < 2 * beam**2]
    children = _applied(states, edits.take(spare), apply)
    distinct = _rank(_digest(children)) == 0
    children = children.take(distinct.nonzero().flatten())
    return children.take((_rank(children.owner) < beam).nonzero().flatten())


def _digest(states: States) -> Tensor:
    """A number for each text of each sample (m,), int64: equal texts of one sample have equal ones."""
    length = states.rows.shape[1]
    weight = SampleRng(torch.arange(length + 1, device=states.rows.device), stream="digest").bits(())
    return (states.rows * weight[:length]).sum(dim=1) + states.owner * weight[length]
