"""Checks of what the model answers: steady, the same in any batch, true logits; and of the stored examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.checks.base import Case, Outcome, Status, checks
from xaibench.errors import UnsupportedError
from xaibench.registry import Spec
from xaibench.threats import contains
from xaibench.types import Capability

__all__ = ["BatchDependence", "ProbabilitiesNotLogits", "RandomModel", "StoredAdversarials"]

_SUB_BATCH = 3


@checks.register("stored_adversarials")
@dataclass(frozen=True, kw_only=True)
class StoredAdversarials:
    """Whether every stored example is in the box, within the threat (and 1e-6), and misclassified, in float32.

    The figure is the number of false ones.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    limit: int = 0

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        x = case.adversarials
        moved = (x != case.x).flatten(1).any(dim=1)
        claimed = case.correct & ~case.robust
        rows = claimed.nonzero().flatten()
        true = ~(moved & ~claimed)
        if len(rows):
            wrong = case.logits(x[rows]).argmax(dim=1) != case.y[rows]
            true[rows] = wrong & contains(case.threat, x[rows], case.x[rows], case.model.bounds)
        false = int((~true).sum())
        good = f"All {len(rows)} stored adversarial examples hold when they are checked again."
        bad = f"{false} of {len(rows)} stored examples do not hold when checked again, so do not trust this number."
        fired = false > self.limit
        return Outcome(
            check=self.name,
            status="fail" if fired else "pass",
            figure=false,
            limit=self.limit,
            advice=bad if fired else good,
        )


@checks.register("random_model")
@dataclass(frozen=True, kw_only=True)
class RandomModel:
    """Whether repeated passes over one batch differ, all modules being in evaluation mode.

    The figure is the largest change of a logit, as a share of the largest logit. Random models need gradients averaged
    over their randomness (expectation over transformation: Athalye et al., *Obfuscated gradients give a false sense of
    security*, ICML 2018).
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 16
    passes: int = 5
    limit: float = 1e-4

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        x = case.x[case.some(torch.ones_like(case.correct), self.samples)]
        logits = torch.stack([case.model.logits(x) for _ in range(self.passes)])
        figure = _gap(logits, logits[:1])
        averaged = any(_averages(attack) for attack in case.attacks)
        if figure <= self.limit:
            advice = f"{self.passes} passes over one batch gave the same logits."
        elif averaged:
            advice = "The model is random: attacks averaged over it, but robust samples are robust only on average."
        else:
            advice = "The model is random: evaluate it with autoattack-rand, which averages gradients over it."
        status: Status = "pass" if figure <= self.limit else "warning" if averaged else "fail"
        return Outcome(check=self.name, status=status, figure=figure, limit=self.limit, advice=advice)


def _averages(attack: str) -> bool:
    """Whether an attack, by its spec, averages several gradients in each step."""
    spec = Spec.parse(attack)
    return spec.name == "autoattack-rand" or spec.params.get("eot", 1) > 1


@checks.register("batch_dependence")
@dataclass(frozen=True, kw_only=True)
class BatchDependence:
    """Whether the logits of a sample change with the other samples in its batch.

    The figure is the largest change, as a share of the largest logit; other batch sizes may round otherwise.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False

    samples: int = 16
    limit: float = 2e-3

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        x = case.x[case.some(torch.ones_like(case.correct), self.samples)]
        if len(x) < 2:
            raise UnsupportedError("one sample has no others in its batch")
        whole = case.model.logits(x)
        if _gap(whole, case.model.logits(x)) > self.limit:
            raise UnsupportedError("the model is random")
        parts = torch.cat([case.model.logits(part) for part in x.flip(0).split(_SUB_BATCH)])
        figure = _gap(whole, parts.flip(0))
        fired = figure > self.limit
        return Outcome(
            check=self.name,
            status="fail" if fired else "pass",
            figure=figure,
            limit=self.limit,
            advice="A sample's logits depend on the others in its batch, so attacks and re-checks see different models."
            if fired
            else "The logits of a sample are the same whatever the batch.",
        )


@checks.register("probabilities_not_logits")
@dataclass(frozen=True, kw_only=True)
class ProbabilitiesNotLogits:
    """Whether what attacks get as logits are probabilities, non-negative rows that sum to one, or logarithms of these.

    The figure is the largest gap between the sum of a row, or of its exponentials, and one. A softmax over
    probabilities hardly has a gradient; log-probabilities saturate.
    """

    name: ClassVar[str]
    thorough: ClassVar[bool] = False
    floor: ClassVar[bool] = True

    samples: int = 16
    limit: float = 1e-4

    def __call__(self, case: Case) -> Outcome:
        """See `Check`."""
        logits = case.model.logits(case.x[case.some(torch.ones_like(case.correct), self.samples)])
        sums = torch.stack([values.sum(dim=1) for values in (logits.double(), logits.double().exp())])
        plain, logarithms = ((sums - 1).abs().amax(dim=1)).tolist()
        figure = min(plain, logarithms)
        hidden = case.model.limits.get(Capability.LOGITS)
        fired = hidden is not None or logarithms <= self.limit
        if plain <= self.limit and bool((logits >= 0).all()):
            fired = True
            advice = "The model's outputs are probabilities under one more softmax: hand over what comes before it."
        elif fired:
            advice = f"Losses on logits are misleading here, for {hidden or 'the outputs are log-probabilities'}."
        else:
            advice = "The outputs are logits."
        return Outcome(
            check=self.name,
            status="warning" if fired else "pass",
            figure=figure,
            limit=self.limit,
            advice=advice,
        )


def _gap(a: Tensor, b: Tensor) -> float:
    """Largest difference as a share of the largest value; all of it where there are values that are no numbers."""
    share = (a - b).abs().max() / a.abs().max().clamp_min(torch.finfo(a.dtype).tiny)
    return float(share.nan_to_num(nan=1.0))
