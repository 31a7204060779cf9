"""The strongest robust accuracy for the least work: short runs from many starts, long ones only where they may succeed.

Most samples that can be broken fall to a few steps from the right start, and most of the rest are far from falling:
their margin hardly moves, and ends at the same place from every start. So each stage remembers how near a sample came
and how far its runs differed, and the costly stages take on only those that may still fall. What is decided for a
sample rests on that sample alone, so neither batches nor shards change it. After Liu et al., *Practical evaluation of
adversarial robustness via adaptive auto attack* (CVPR 2022), and Gao et al., *Fast and reliable evaluation of
adversarial robustness with minimum-margin attack* (ICML 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from xaibench.attacks import Square
from xaibench.attacks.apgd import Ascent
from xaibench.attacks.base import walk_correct
from xaibench.attacks.engine import Found, Jobs, Problem, Rows, Walk
from xaibench.losses import margin
from xaibench.rng import derive_seed
from xaibench.robustness.stage import Stage
from xaibench.threats import Threat
from xaibench.types import Classifier

__all__ = ["Chase", "Memory", "Search", "pursuit"]


_WIDER = 3.0


@dataclass
class Memory:
    """What came of earlier stages, by the id of a sample.

    ``closeness`` is the share of its clean margin that was overcome, at most 1. ``spread`` is how far apart runs from
    several starts ended, in the same unit: next to nothing where the loss leads everywhere to the same end, wide where
    gradients mislead and another start may do better.
    """

    closeness: dict[int, float] = field(default_factory=dict)
    spread: dict[int, float] = field(default_factory=dict)

    def promising(self, ids: Tensor, least: float) -> Tensor:
        """Which samples came so near that a few spreads more would be ``least``, or were never tried: bool (n,)."""
        promise = [self.closeness.get(i, 1.0) + _WIDER * self.spread.get(i, 0.0) for i in ids.tolist()]
        return torch.tensor([value >= least for value in promise], device=ids.device)

    def note(self, problem: Problem, logits: Tensor, jobs: Jobs, found: Found) -> None:
        """Keep the largest share that any job of a sample overcame, and how far the first several jobs differ."""
        clean = margin(logits, problem.y).clamp_max(-1e-12)
        share = (1 - found.closest.to(clean) / clean[jobs.samples]).clamp(0, 1)
        most, least = (
            torch.full_like(clean, start).scatter_reduce(0, jobs.samples, share, kind)
            for start, kind in ((0.0, "amax"), (1.0, "amin"))
        )
        several = len(jobs.samples) > len(clean) and bool((jobs.targets == problem.y[jobs.samples]).all())
        for i, high, low in zip(problem.ids.tolist(), most.tolist(), least.tolist(), strict=True):
            self.closeness[i] = max(self.closeness.get(i, 0.0), high)
            if several:
                self.spread.setdefault(i, high - low)


@dataclass(frozen=True, kw_only=True)
class Chase:
    """Auto-PGD on samples that came near enough in earlier stages.

    ``corners``: starts are corners of the ball, signs drawn for blocks of features, in place of points at its edge.
    """

    name: ClassVar[str] = "verdict"

    memory: Memory
    label: str
    loss: str
    steps: int
    restarts: int = 1
    targets: int = 0
    corners: bool = False
    least: float = 0.0

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""

        def plan(problem: Problem, logits: Tensor) -> tuple[Walk, Jobs]:
            walk = Ascent(
                problem=problem,
                steps=self.steps,
                stream=f"verdict/{self.label}",
                loss_name=self.loss,
                targeted=bool(self.targets),
                start=(lambda rows: corner(problem, rows, self.label)) if self.corners else None,
            )
            if self.targets:
                return walk, Jobs.targeted(problem, logits, self.targets, self.restarts)
            return walk, Jobs.untargeted(problem, self.restarts)

        def chase(x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
            note = self.memory.note
            return walk_correct(plan, model, x, y, threat, ids=ids, seed=seed, batch_size=None, note=note)

        return _among(self.memory.promising, self.least, chase, (x, y, ids))


@dataclass(frozen=True, kw_only=True)
class Search:
    """An attack without gradients on samples that came near enough in earlier stages."""

    name: ClassVar[str] = "verdict"

    memory: Memory
    label: str
    attack: Square
    least: float = 0.0

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""

        def search(x: Tensor, y: Tensor, ids: Tensor) -> Tensor:
            return self.attack(model, x, y, threat, ids=ids, seed=derive_seed(seed, self.label))

        return _among(self.memory.promising, self.least, search, (x, y, ids))


def pursuit() -> tuple[Stage, ...]:
    """The stages of ``verdict``: two on all samples, ever costlier ones on ever fewer."""
    memory = Memory()

    def chase(label: str, loss: str, steps: int, **rest: Any) -> Stage:
        return Stage(label, Chase(memory=memory, label=label, loss=loss, steps=steps, **rest))

    def search(label: str, queries: int, least: float) -> Stage:
        return Stage(label, Search(memory=memory, label=label, attack=Square(queries=queries), least=least))

    return (
        chase("ce-10", "ce", 10),
        chase("margin-corners-3x20", "margin", 20, restarts=3, corners=True),
        chase("dlr-targets-9x10", "dlr", 10, targets=9, least=0.5),
        chase("margin-corners-5x50", "margin", 50, restarts=5, corners=True, least=0.9),
        chase("dlr-targets-4x50", "dlr", 50, targets=4, least=0.9),
        search("square-2000", 2000, 0.9),
        search("square-3000", 3000, 1.0),
    )


def corner(problem: Problem, rows: Rows, stream: str) -> Tensor:
    """A corner of each row's ball: every block of features (a seventh of an image's side) up or down by chance."""
    clean, threat = rows.clean, problem.threat
    shape = tuple(clean.shape[1:])
    sides = [max(side // 7, 1) for side in shape[1:]]
    coarse = (shape[0], *(math.ceil(side / block) for side, block in zip(shape[1:], sides, strict=True)))
    sign = rows.rng(problem.seed, f"{stream}/corner").bits(coarse, rows.restarts).sign().to(clean)
    for axis, block in enumerate(sides, 2):
        sign = sign.repeat_interleave(block, axis).narrow(axis, 0, shape[axis - 1])
    # As long as the ball is wide in any norm; the projection brings it back.
    unit = clean.new_tensor(1.0 if threat.scale is None else threat.scale)
    return threat.project(clean + threat.eps * unit * sign, clean, problem.bounds)


def _among(
    promising: Callable[[Tensor, float], Tensor],
    least: float,
    attack: Callable[[Tensor, Tensor, Tensor], Tensor],
    batch: tuple[Tensor, Tensor, Tensor | None],
) -> Tensor:
    """The result of an attack on the samples that came near enough, and the clean inputs of the rest."""
    x, y, ids = batch
    ids = torch.arange(len(x), device=x.device) if ids is None else ids
    rows = promising(ids, least).nonzero().flatten()
    result = x.clone()
    if len(rows):
        result[rows] = attack(x[rows], y[rows], ids[rows])
    return result
