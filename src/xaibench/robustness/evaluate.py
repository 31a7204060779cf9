"""Robust accuracy of a model on given samples: attack, prove, check again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xaibench.attacks.base import check_inputs
from xaibench.certify import prove
from xaibench.checks import Case, examine
from xaibench.errors import InputError, UnsupportedError
from xaibench.robustness.ensembles import Attacks, stages
from xaibench.robustness.meter import Cost, Meter
from xaibench.robustness.result import CLEAN, RobustnessResult, StageResult
from xaibench.robustness.stage import Stage
from xaibench.threats import Threat, contains
from xaibench.types import Classifier, Inputs, Progress, check_classifier

__all__ = ["evaluate_robustness"]

_PASS = 256


def evaluate_robustness(
    model: Classifier,
    inputs: Inputs,
    labels: Tensor | Sequence[int],
    *,
    threat: Threat,
    attack: Attacks = "verdict",
    seed: int = 0,
    batch_size: int | None = None,
    sample_ids: Tensor | Sequence[int] | None = None,
    certify: bool = True,
    checks: bool = True,
    thorough: bool = False,
    progress: Progress | None = None,
) -> RobustnessResult:
    """Attack a model on ``inputs`` (n, ...) of classes ``labels`` (n,), and prove what can be proved.

    ``attack`` is an ensemble (``verdict``, ``autoattack``, ``autoattack-plus``, ``autoattack-rand``), an attack's name
    or `Spec`, or several of these; each is made on the samples that those before it left standing. With ``certify``
    linear bounds try to prove what the first attack left standing, and no later one is wasted on what they prove.
    ``checks`` looks whether the result can be trusted, ``thorough`` at some cost. Random numbers belong to samples:
    ``sample_ids`` (n,), int64, by default 0..n-1, make the result of a sample the same whatever the others are.
    ``batch_size`` bounds the rows in a pass of the model where an attack does not say itself; by default each finds
    the fastest. Texts are strings or token ids.

    Every success was checked again before it counts: finite, in the box, within the threat, misclassified, in float32.

    Raises `InputError` for inputs, labels, ids, threats and attacks that do not fit, and for logits that are not
    finite; `UnsupportedError` if none of the attacks can be made on this model.
    """
    check_classifier(model)
    if batch_size is not None and batch_size < 1:
        raise InputError(f"expected `batch_size` >= 1, got {batch_size}")
    x, y, ids, threat = check_inputs(model, inputs, labels, threat, sample_ids)
    meter = Meter(model)
    work = _Work(meter=meter, x=x, y=y, ids=ids, threat=threat, seed=seed, batch_size=batch_size)
    planned = stages(attack, model, threat)
    unproved = None
    for position, stage in enumerate(planned, 1):
        work.make(stage)
        if certify and position == 1:
            unproved = work.prove()
        if progress is not None:
            progress(stage.label, position, len(planned), {"standing": int(work.robust.sum())})
    result = work.result(attack, unproved)
    if not checks:
        return result
    case = Case(
        model=model,
        x=x,
        y=y,
        ids=ids,
        threat=threat,
        seed=seed,
        correct=work.correct,
        robust=work.robust,
        adversarials=work.adversarials,
        broken_by=result.broken_by,
        attacks=tuple(stage.label for stage in planned),
    )
    return replace(result, checks=examine(case, thorough=thorough, progress=progress))


@dataclass(kw_only=True)
class _Work:
    """An evaluation under way: what still stands, and what broke the rest."""

    meter: Meter
    x: Tensor
    y: Tensor
    ids: Tensor
    threat: Threat
    seed: int
    batch_size: int | None

    def __post_init__(self) -> None:
        self.predictions = self._predict(self.x)
        self.correct = self.predictions == self.y
        self.robust, self.proved = self.correct.clone(), torch.zeros_like(self.correct)
        self.adversarials = self.x.clone()
        self.broken_by = ["" if right else CLEAN for right in self.correct.tolist()]
        self.stages: list[StageResult] = []
        self.refused: list[UnsupportedError] = []
        self.proof_cost = Cost()

    def make(self, stage: Stage) -> None:
        """Attack what stands and is not proved, and check each success again."""
        rows = (self.robust & ~self.proved).nonzero().flatten()
        if not len(rows):
            return
        note = stage.note
        with self.meter.measured() as cost:
            try:
                found = stage.attack(
                    self.meter, self.x[rows], self.y[rows], self.threat, ids=self.ids[rows], seed=self.seed
                )
            except UnsupportedError as error:
                self.refused.append(error)
                found, note = self.x[rows], f"left out: {error}"
            predictions, success = self._checked(found, rows)
        claimed = (found != self.x[rows]).flatten(1).any(dim=1)
        broken = rows[success]
        self.adversarials[broken], self.predictions[broken] = found[success], predictions[success]
        self.robust[broken] = False
        for row in broken.tolist():
            self.broken_by[row] = stage.label
        rejected = int(claimed.sum()) - len(broken)
        self.stages.append(StageResult(stage.label, len(rows), len(broken), cost[0], note, rejected))

    def prove(self) -> str | None:
        """Try to prove what stands; why that cannot be done, if it cannot."""
        rows = self.robust.nonzero().flatten()
        if not len(rows):
            return None
        with self.meter.measured() as cost:
            try:
                self.proved[rows] = prove(self.meter.classifier, self.x[rows], self.y[rows], self.threat)
            except UnsupportedError as error:
                return str(error)
        self.proof_cost = cost[0]
        return None

    def result(self, attack: Attacks, unproved: str | None) -> RobustnessResult:
        """All that was found out."""
        if self.refused and len(self.refused) == len(self.stages):
            raise self.refused[0]
        return RobustnessResult(
            threat=self.threat,
            attack=tuple(map(str, attack if isinstance(attack, list | tuple) else [attack])),
            seed=self.seed,
            robust=self.robust.cpu(),
            proved=self.proved.cpu(),
            adversarials=self.adversarials.cpu(),
            predictions=self.predictions.cpu(),
            broken_by=tuple(self.broken_by),
            distance=self.threat.distance(self.adversarials, self.x).cpu(),
            stages=tuple(self.stages),
            unproved=unproved,
            proof_cost=self.proof_cost,
        )

    def _checked(self, found: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Classes of the points found, and which of them are adversarial for sure."""
        clean = self.x[rows]
        moved = (found != clean).flatten(1).any(dim=1) & found.isfinite().flatten(1).all(dim=1)
        predictions = self.y[rows].clone()
        if bool(moved.any()):
            predictions[moved] = self._predict(found[moved])
            moved[moved.clone()] = contains(self.threat, found[moved], clean[moved], self.meter.bounds)
        return predictions, moved & (predictions != self.y[rows])

    def _predict(self, x: Tensor) -> Tensor:
        """Classes; logits that are no numbers are bad input."""
        with torch.no_grad():
            logits = torch.cat([self.meter.logits(part) for part in x.split(self.batch_size or _PASS)])
        wrong = int((~logits.isfinite()).any(dim=1).sum())
        if wrong:
            raise InputError(
                f"expected finite logits from the model, got NaN or infinity for {wrong} of {len(x)} inputs"
            )
        return logits.argmax(dim=1)
