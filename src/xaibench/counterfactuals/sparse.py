"""Few changed features: added one after another by the gradient, then taken back as far as the decision allows."""

from __future__ import annotations

import torch
from torch import Tensor

from xaibench.counterfactuals.boundary import Box
from xaibench.counterfactuals.goal import Goal

__all__ = ["few_flips", "pruned"]

_AIMS = 4
_ROUNDS = 64


def few_flips(goal: Goal, box: Box, *, most: int) -> tuple[Tensor, Tensor]:
    """Inputs (n, ...) that reach the goal by few changed features, at most ``most``, and whether: bool (n,).

    In the manner of Papernot et al., *The limitations of deep learning in adversarial settings* (EuroS&P 2016): the
    feature that promises most by the gradient goes to its limit, again and again; of large inputs several at a time.
    Then changes are taken back, the smallest promise first, while the goal stays reached. Exact for linear models.
    """
    rows, aims = goal.aims(box.clean, _AIMS)
    jobs = box.take(rows)
    low, high = jobs.limits
    batch = -(-min(most, low.shape[1]) // _ROUNDS)
    move, found = torch.zeros_like(low), torch.zeros_like(rows, dtype=torch.bool)
    changed, promise = torch.zeros_like(low, dtype=torch.bool), torch.zeros_like(low)
    for _ in range(min(_ROUNDS, most)):
        active = (~found).nonzero().flatten()
        if not len(active):
            break
        part = jobs.take(active)
        _, gradient, _ = goal.slope(part.place(move[active]), rows[active], aims[active])
        slope = (gradient.double() * box.unit.double()).flatten(1)
        down, up = slope * (low[active] - move[active]), slope * (high[active] - move[active])
        gain = torch.maximum(down, up).masked_fill(changed[active], -torch.inf)
        top, place = gain.topk(min(batch, gain.shape[1]), dim=1)
        end = torch.where(up >= down, high[active], low[active]).gather(1, place)
        useful = top > 0
        at = active[:, None].expand_as(place)[useful]
        move[at, place[useful]] = end[useful]
        promise[at, place[useful]] = top[useful]
        changed[at, place[useful]] = True
        over = changed[active].sum(dim=1) > most
        found[active] = (goal.lead(part.place(move[active]), rows[active]) > 0) & ~over
    x = pruned(goal, jobs, rows, jobs.place(move), promise=promise, found=found)
    return _fewest(box, rows, x, found)


def pruned(goal: Goal, box: Box, rows: Tensor, x: Tensor, *, promise: Tensor, found: Tensor) -> Tensor:
    """``x`` (m, ...) with every change taken back that the goal does not need, the smallest ``promise`` first."""
    x = x.clone()
    flat, clean = x.view(len(x), -1), box.clean.reshape(len(x), -1)
    order = promise.masked_fill(flat == clean, torch.inf).argsort(dim=1, stable=True)
    count = (flat != clean).sum(dim=1) * found
    for turn in range(int(count.max()) if len(count) else 0):
        active = (count > turn).nonzero().flatten()
        place = order[active, turn]
        kept = flat[active, place].clone()
        flat[active, place] = clean[active, place]
        lost = goal.lead(x[active], rows[active]) <= 0
        flat[active[lost], place[lost]] = kept[lost]
    return x


def _fewest(box: Box, rows: Tensor, x: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """For each sample the job with the fewest changes; of equal ones the shortest."""
    best, reached = box.clean.clone(), torch.zeros(len(box.clean), dtype=torch.bool, device=x.device)
    offset = box.take(rows).offset(x)
    keys = list(zip((offset != 0).sum(dim=1).tolist(), offset.norm(dim=1).tolist(), strict=True))
    for job in sorted(range(len(rows)), key=lambda j: keys[j], reverse=True):
        if found[job]:
            best[rows[job]], reached[rows[job]] = x[job], True
    return best, reached
