"""Checks that attack the samples which stand once more, otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.attacks import APGDCE, APGDT, FGSM, Attack, Square
from xaibench.checks.base import Case, Outcome, Status, checks
from xaibench.errors import UnsupportedError
from xaibench.metrics import wilson_interval
from xaibench.rng import SampleRng, derive_seed
from xaibench.threats import Threat

__all__ = [
    "BlackBoxBeatsWhiteBox",
    "MoreEffort",
    "NoiseSuffices",
    "OneStepBeatsMany",
    "broken_by",
    "check_task",
]


class _Rematch(Protocol):
    """A check that attacks samples which stand."""

    name: ClassVar[str]

    @property
    def limit(self) -> float:
        """Points of robust accuracy, as a share, above which it warns."""
        ...

    @property
    def grave(self) -> float:
        """As ``limit``: it fails if more are lost for sure, by the lower end of a 95 % Wilson interval."""
        ...


def _rematch(check: _Rematch, case: Case, broken: Tensor, what: str, advice: str) -> Outcome:
    """The outcome where ``broken`` (k,) says which of k standing samples ``what`` broke."""
    k, hits = len(broken), int(broken.sum())
    figure = hits / k * case.robust_accuracy
    surely = wilson_interval(hits, k)[0] * case.robust_accuracy
    status: Status = "pass" if figure <= check.limit else "fail" if hits and surely > check.grave else "warning"
    told = f"{what} broke {hits or 'none'} of {k} samples that stood"
    return Outcome(
        check=check.name,
        status=status,
        figure=figure,
        limit=check.limit,
        advice=f"{told}." if status == "pass" else f"{told}: {advice}.",
    )


def broken_by(case: Case, rows: Tensor, *attacks: Attack, threat: Threat | None = None) -> Tensor:
    """Which of the rows (k,) any of the attacks breaks, each on what those before it left; with a seed of its own."""
    broken = torch.zeros_like(rows, dtype=torch.bool)
    for attack in attacks:
        left = (~broken).nonzero().flatten()
        if not len(left):
            break
        part = case.problem(rows[left], threat)
        seed = derive_seed(case.seed, "checks")
        found = attack(part.model, part.x, part.y, part.threat, ids=part.ids, seed=seed)
        broken[left] = (found != part.x).flatten(1).any(dim=1)
    return broken


def check_task(case: Case) -> None:
    """Raise `UnsupportedError` where attacks in norms do not exist."""
    if case.model.task == "text" or case.threat.norm == "spatial":
        raise UnsupportedError(f"it needs a ball of linf, l2, l1 or l0, got {case.threat.norm}")


@checks.register("one_step_beats_many")
@dataclass(frozen=True, kw_only=True)
class OneStepBeatsMany:
    """Whether one gradient step (FGSM) breaks samples that the evaluation's attacks did not.

    Athalye et al., *Obfuscated gradients give a false sense of security* (ICML 2018). The figure is the robust accuracy
    that it takes away.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 32
    limit: float = 0.0
    grave: float = 0.02

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        check_task(case)
        rows = case.some(case.robust, self.samples)
        broken = broken_by(case, rows, FGSM(), FGSM(loss="margin"))
        return _rematch(self, case, broken, "One gradient step", "those of this evaluation were too weak, or blind")


@checks.register("more_effort")
@dataclass(frozen=True, kw_only=True)
class MoreEffort:
    """Whether longer ascents, with several losses and new starts, lower robust accuracy.

    Carlini et al., *On evaluating adversarial robustness* (2019). The figure is the robust accuracy that Auto-PGD takes
    away, with ``steps`` steps on the cross-entropy and as many towards each of ``targets`` classes.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False
    if_thorough: ClassVar[Mapping[str, int]] = MappingProxyType({"samples": 64, "steps": 100})

    samples: int = 16
    steps: int = 20
    targets: int = 3
    limit: float = 0.005
    grave: float = 0.02

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        check_task(case)
        rows = case.some(case.robust, self.samples)
        broken = broken_by(case, rows, APGDCE(steps=self.steps), APGDT(steps=self.steps, targets=self.targets))
        return _rematch(self, case, broken, "More steps and restarts", "give the attacks a larger budget")


@checks.register("black_box_beats_white_box")
@dataclass(frozen=True, kw_only=True)
class BlackBoxBeatsWhiteBox:
    """Whether random search, which asks for no gradient, breaks samples that stand.

    Carlini et al. (2019); Croce & Hein, *Reliable evaluation of adversarial robustness* (ICML 2020), whose figure this
    is: the robust accuracy that Square takes away.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False
    if_thorough: ClassVar[Mapping[str, int]] = MappingProxyType({"samples": 64, "queries": 2000})

    samples: int = 16
    queries: int = 100
    limit: float = 0.002
    grave: float = 0.02

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        check_task(case)
        broken = broken_by(case, case.some(case.robust, self.samples), Square(queries=self.queries))
        return _rematch(self, case, broken, "Square", "gradients are obstructed, so attack with more queries")


@checks.register("noise_suffices")
@dataclass(frozen=True, kw_only=True)
class NoiseSuffices:
    """Whether random points of the ball break samples that the attacks did not.

    Carlini et al. (2019). The figure is the robust accuracy that ``draws`` points for each sample take away.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = True

    samples: int = 32
    draws: int = 1000
    limit: float = 0.0
    grave: float = 0.02

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        check_task(case)
        part = case.problem(case.some(case.robust, self.samples))
        rng = SampleRng(part.ids, seed=case.seed, stream=self.name)
        broken = torch.zeros_like(part.y, dtype=torch.bool)
        for draw in range(self.draws):
            left = (~broken).nonzero().flatten()
            if not len(left):
                break
            noise = SampleRng(rng.ids[left], seed=rng.seed, stream=rng.stream)
            points = case.threat.sample(noise, part.x[left], part.bounds, draw)
            finish = getattr(case.threat, "finish", None)
            points = points if finish is None else finish(points, part.x[left], part.bounds)
            broken[left] = case.logits(points).argmax(dim=1) != part.y[left]
        return _rematch(self, case, broken, "Random noise", "the gradient attacks did not work")
