"""Rows of tables without gradients, or with whole numbers and categories: a search over values, feature by feature."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.counterfactuals.boundary import Box
from xaibench.counterfactuals.goal import Goal
from xaibench.counterfactuals.rules import Rules
from xaibench.threats import Threat

__all__ = ["ValueSearch"]

_HALVINGS = 24
_STEPS = 12
_MOST_WHOLE = 64


@dataclass(frozen=True)
class _Move:
    """Values that some features may be set to together: (values, features of the move)."""

    features: tuple[int, ...]
    values: Tensor


@dataclass(frozen=True, kw_only=True)
class ValueSearch:
    """Searches the rows that differ from a clean one in up to ``most`` features (a one-hot group counts as one).

    Level by level: every kept row is changed in every feature that is still clean, to every value on a grid; rows that
    reach the goal are candidates, of the others the ``beam`` most promising ones go on: those that lead most, and those
    that lead most for their distance. The grid of a measured feature has its limits and both sides of the clean value
    at 1, 1/2, 1/4, ... of the range; whole numbers have all values, at most 64; groups have their members. The nearest
    candidate is then drawn to the clean row, feature by feature. With a beam that holds all rows the search leaves
    nothing of the grid out.
    """

    goal: Goal
    rules: Rules
    distance: Threat
    """Its norm and scale say what is near."""
    most: int
    beam: int

    def __call__(self, box: Box) -> tuple[Tensor, Tensor]:
        """Rows (n, features) that reach the goal, and whether one was found: bool (n,)."""
        result, found = box.clean.clone(), torch.zeros(len(box.clean), dtype=torch.bool, device=box.clean.device)
        for row in range(len(box.clean)):
            best = self._search(row, box.clean[row], box.low[row], box.high[row])
            if best is not None:
                result[row], found[row] = self._refined(row, box.clean[row], best), True
        return result, found

    def _search(self, row: int, clean: Tensor, low: Tensor, high: Tensor) -> Tensor | None:
        moves = self._moves(clean, low, high)
        states, best, nearest = clean[None], None, torch.inf
        for _ in range(self.most):
            children = self._children(states, clean, moves)
            far = self._far(children, clean)
            children, far = children[far < nearest], far[far < nearest]
            if not len(children):
                break
            lead = self.goal.lead(children, torch.full((len(children),), row, device=clean.device))
            if bool((lead > 0).any()):
                reached = far.masked_fill(lead <= 0, torch.inf)
                best, nearest = children[reached.argmin()], float(reached.min())
                if self.distance.norm == "l0":
                    break
            states = self._promising(children, lead, far)
        return best

    def _moves(self, clean: Tensor, low: Tensor, high: Tensor) -> list[_Move]:
        grouped = {index for group in self.rules.one_hot for index in group}
        moves = []
        for index in range(len(clean)):
            if index in grouped or low[index] == high[index]:
                continue
            value, least, largest = clean[index], low[index], high[index]
            if index in self.rules.integer:
                first, last = int(least.ceil()), int(largest.floor())
                count = min(last - first + 1, _MOST_WHOLE)
                grid = torch.linspace(first, last, max(count, 1), dtype=torch.float64).round()
                grid = torch.cat([grid, torch.stack([value - 1, value + 1]).double().cpu()])
                grid = grid.to(clean)
            else:
                share = 0.5 ** torch.arange(_STEPS, device=clean.device, dtype=clean.dtype)
                grid = torch.cat([value - (value - least) * share, value + (largest - value) * share])
            grid = grid[(grid >= least) & (grid <= largest) & (grid != value)].unique()
            if len(grid):
                moves.append(_Move((index,), grid[:, None]))
        for group in self.rules.one_hot:
            if any(low[index] == high[index] for index in group):
                continue
            members = torch.eye(len(group), dtype=clean.dtype, device=clean.device)
            moves.append(_Move(group, members[(members != clean[list(group)]).any(dim=1)]))
        return moves

    def _children(self, states: Tensor, clean: Tensor, moves: list[_Move]) -> Tensor:
        """All rows that one more changed feature makes of the states, each once."""
        found = []
        for move in moves:
            columns = list(move.features)
            fresh = states[(states[:, columns] == clean[columns]).all(dim=1)]
            some = fresh.repeat_interleave(len(move.values), dim=0)
            some[:, columns] = move.values.repeat(len(fresh), 1)
            found.append(some)
        return torch.cat(found).unique(dim=0) if found else states[:0]

    def _promising(self, children: Tensor, lead: Tensor, far: Tensor) -> Tensor:
        """The most promising rows that do not reach the goal yet."""
        children, lead, far = (part[lead <= 0] for part in (children, lead, far))
        if len(children) <= self.beam:
            return children
        best = lead.argsort(descending=True, stable=True)[: self.beam]
        rate = (lead - lead.min()) / far.clamp_min(1e-12)
        cheap = rate.argsort(descending=True, stable=True)[: self.beam]
        return children[torch.cat([best, cheap]).unique()]

    def _refined(self, row: int, clean: Tensor, x: Tensor) -> Tensor:
        """``x`` with each changed feature put back, or else drawn as near to its clean value as the goal allows."""
        groups = {index: group for group in self.rules.one_hot for index in group}
        for _ in range(2):
            for index in (x != clean).nonzero().flatten().tolist():
                columns = list(groups.get(index, (index,)))
                back = x.clone()
                back[columns] = clean[columns]
                if self._reaches(row, back):
                    x = back
                elif index not in groups:
                    x = self._drawn(row, clean, x, index)
        return x

    def _drawn(self, row: int, clean: Tensor, x: Tensor, index: int) -> Tensor:
        start, end = float(clean[index]), float(x[index])
        whole = index in self.rules.integer
        for _ in range(_HALVINGS):
            middle = (start + end) / 2
            if whole:
                middle = float(math.floor(middle) if end > start else math.ceil(middle))
            if middle in (start, end):
                break
            trial = x.clone()
            trial[index] = middle
            if self._reaches(row, trial):
                x, end = trial, middle
            else:
                start = middle
        return x

    def _reaches(self, row: int, x: Tensor) -> bool:
        return bool(self.goal.lead(x[None], torch.tensor([row], device=x.device)) > 0)

    def _far(self, rows: Tensor, clean: Tensor) -> Tensor:
        """Distances (m,) in the norm; of equally many changes the shorter one counts as nearer."""
        origin = clean.expand_as(rows)
        if self.distance.norm != "l0":
            return self.distance.distance(rows, origin).double()
        scale = rows.new_tensor(self.distance.scale or 1.0).double()
        size = ((rows.double() - origin.double()) / scale).norm(dim=1)
        return self.rules.changed(rows, origin).double() + size / (1 + size)
