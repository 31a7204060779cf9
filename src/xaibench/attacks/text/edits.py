"""Single edits of token ids: which text, where, and what is put there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

__all__ = ["Edits", "States", "insert", "removed", "substitute"]


@dataclass(frozen=True)
class States:
    """Texts under way, (m, length) each, and the samples (m,) that they are of."""

    rows: Tensor
    origin: Tensor
    """Of each id its place in the clean text; -1 where it was edited."""
    owner: Tensor

    @classmethod
    def start(cls, clean: Tensor) -> Self:
        """The clean texts (n, length)."""
        n, length = clean.shape
        places = torch.arange(length, device=clean.device).expand(n, -1)
        return cls(clean, places, torch.arange(n, device=clean.device))

    def take(self, index: Tensor) -> States:
        """Some of them."""
        return States(self.rows[index], self.origin[index], self.owner[index])


@dataclass(frozen=True)
class Edits:
    """Edits (c,), those of one state in order of promise: the state, the position in its row, the new id."""

    parent: Tensor
    position: Tensor
    token: Tensor

    def take(self, index: Tensor) -> Edits:
        """Some of them."""
        return Edits(self.parent[index], self.position[index], self.token[index])


def substitute(states: States, edits: Edits) -> States:
    """States (c,) with the id at the position of each edit exchanged."""
    at = edits.position[:, None]
    rows = states.rows.scatter(1, at, edits.token[:, None])
    return States(rows, states.origin.scatter(1, at, -1), states.owner)


def insert(states: States, edits: Edits, leftwards: Tensor) -> States:
    """States (c,) with the new id put behind the position of each edit.

    What follows makes room to the right, so that the last id of the row falls out; where ``leftwards`` (c,), the id at
    the position and what is before it move to the left, and the first one falls out.
    """
    at, left = edits.position[:, None], leftwards[:, None]
    place = torch.arange(states.rows.shape[1], device=at.device).expand_as(states.rows)
    source = torch.where(left, place + (place < at).long(), place - (place > at).long())
    gap = torch.where(left, at, at + 1)
    rows = states.rows.gather(1, source).scatter(1, gap, edits.token[:, None])
    return States(rows, states.origin.gather(1, source).scatter(1, gap, -1), states.owner)


def removed(rows: Tensor, position: Tensor, padding: int) -> Tensor:
    """Rows (c, length) without the id at ``position`` (c,); the row is filled up where its padding is."""
    place = torch.arange(rows.shape[1], device=rows.device).expand_as(rows)
    at, left = position[:, None], rows[:, :1] == padding
    source = torch.where(left, place - (place <= at).long(), place + (place >= at).long())
    outside = (source < 0) | (source >= rows.shape[1])
    return rows.gather(1, source.clamp(0, rows.shape[1] - 1)).masked_fill(outside, padding)
