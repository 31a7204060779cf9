"""Attacks on explanations: inputs near by that are classified alike and explained otherwise."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, Cost, Explainer, explainers
from xaibench.losses import margin
from xaibench.manipulation.movement import Movement, moved
from xaibench.manipulation.objectives import Objective, objectives
from xaibench.manipulation.search import Case, Climb, Noise, Proposals, Windows
from xaibench.manipulation.smooth import smooth_map
from xaibench.rng import SampleRng, check_seed, content_ids
from xaibench.threats import Threat, check_threat, contains
from xaibench.types import Classifier, check_classifier

__all__ = ["ManipulationResult", "attack_explanation"]

Search = Literal["auto", "gradient", "queries", "noise"]

_SURE = 1e-4
"""How clear a prediction must stay, relative to its logit, to count as kept whatever the rounding of another batch."""


@dataclass(frozen=True, kw_only=True)
class ManipulationResult:
    """What an attack on explanations of n samples found; the clean input where nothing moved its map."""

    inputs: Tensor
    """(n, ...), within the threat and the box, of the same predicted class as the clean ones."""
    target: Tensor
    """(n,), int64: the predicted classes, whose logits are explained before and after."""
    before: Tensor
    """(n, ...) attributions of the clean inputs, and below of those that were found."""
    after: Tensor
    movement: Movement
    reached: Tensor
    """(n,), float64: the objective's own figure for the inputs found."""
    kept: Tensor
    """(n,) bool: the prediction is the same, in a fresh pass. Where it is not, the clean input is given."""
    method: str
    objective: str
    search: str
    """``gradient``, ``queries`` or ``noise``."""
    cost: Cost
    """Passes of search and verdict; a gradient of a gradient counts as two backward passes."""


def attack_explanation(
    model: Classifier,
    inputs: Tensor,
    *,
    threat: Threat,
    method: str | Explainer = "saliency",
    objective: str | Objective = "top_k",
    search: Search = "auto",
    steps: int = 30,
    restarts: int = 1,
    beta: float = 30.0,
    hold_logits: float = 0.0,
    start: Tensor | None = None,
    seed: int = 0,
) -> ManipulationResult:
    """Move the explanations of inputs (n, ...) as far as can be, within ``threat``, with every prediction kept.

    Ghorbani, Abid & Zou, *Interpretation of neural networks is fragile* (AAAI 2019), by the objectives ``top_k`` and
    ``centre``; Dombrowski et al., *Explanations can be manipulated and geometry is to blame* (NeurIPS 2019), by
    `TargetMap` with ``hold_logits``, the weight of the relative squared change of the logits. ``method`` and
    ``objective`` are names, specs or objects.

    ``search="gradient"`` differentiates the explanation, with softplus of ``beta`` in place of ReLU while it searches;
    ``queries`` changes windows of the best point so far and needs no gradients; ``noise`` draws points of the threat at
    random, as a yardstick; ``auto`` takes gradients where the model and the method have them. Each of ``restarts``
    makes ``steps``, the first from ``start`` (n, ...), points of the threat, if given. Every point is judged by the
    true explainer on the true model, and the best one kept: what is found is a lower bound on what is possible.

    A sample's result depends on ``seed`` and the sample, not on the batch. Raises `UnsupportedError` for text, and
    where ``gradient`` is asked for and there is none.
    """
    begun = time.perf_counter()
    check_classifier(model)
    if model.task == "text":
        raise UnsupportedError("explanations of text are not manipulated: token ids have no ball around them")
    if steps < 1 or restarts < 1:
        raise InputError(f"expected `steps` and `restarts` >= 1, got {steps} and {restarts}")
    check_seed(seed)
    explainer = method if callable(method) else explainers.create(method)
    goal = objectives.create(objective) if isinstance(objective, str) else objective
    x = model.embed(inputs).detach()
    check_threat(threat, model.bounds, tuple(x.shape[1:]))
    if start is not None and start.shape != x.shape:
        raise InputError(f"expected starts as {tuple(x.shape)}, got {tuple(start.shape)}")
    proposals = _proposals(search, explainer, model, x, steps=steps, beta=beta, hold_logits=hold_logits)
    judge = _Judge(model, explainer, goal, threat, x, seed=seed)
    judge.walk(proposals, steps, restarts, start)
    kept, inputs, values = judge.verdict()
    before = judge.case.before
    return ManipulationResult(
        inputs=inputs,
        target=judge.case.target,
        before=before,
        after=values,
        movement=moved(before, values),
        reached=goal.reached(values, before),
        kept=kept,
        method=explainer.name,
        objective=goal.name,
        search=proposals.name,
        cost=Cost(forward=judge.forward, backward=judge.backward, seconds=time.perf_counter() - begun),
    )


def _proposals(
    search: Search, explainer: Explainer, model: Classifier, x: Tensor, *, steps: int, beta: float, hold_logits: float
) -> Proposals:
    if search not in get_args(Search):
        raise InputError(f"expected search as {', '.join(get_args(Search))}, got {search!r}")
    if search == "noise":
        return Noise()
    lead = None if search == "queries" else smooth_map(explainer.name, model, x[:1], beta)
    if lead is not None:
        return Climb(lead, steps, hold_logits)
    if search == "gradient":
        raise UnsupportedError(f"{explainer.name} of this {model.framework} model cannot be differentiated")
    return Windows(steps)


class _Judge:
    """Looks at points with the true explainer on the true model, and keeps the best of each sample."""

    def __init__(
        self, model: Classifier, explainer: Explainer, goal: Objective, threat: Threat, x: Tensor, *, seed: int
    ) -> None:
        self.model, self.explainer, self.seed = model, explainer, seed
        self.forward, self.backward = len(x), 0
        with torch.no_grad():
            logits = model.logits(x)
        target = logits.argmax(dim=1)
        found = self._explain(x, target)
        goal.check(found.values)
        self.case = Case(
            x=x,
            target=target,
            logits=logits,
            before=found.values,
            baseline=torch.zeros_like(x) if found.baseline is None else found.baseline,
            threat=threat,
            bounds=model.bounds,
            goal=goal,
            rng=SampleRng(content_ids(x), seed, f"manipulation {explainer.name} {goal.name}"),
        )
        self.best, self.values = x.clone(), found.values.clone()
        self.reached = goal.reached(found.values, found.values)

    def walk(self, proposals: Proposals, steps: int, restarts: int, start: Tensor | None) -> None:
        """Judge what is proposed."""
        case, (forward, backward) = self.case, proposals.passes
        for restart in range(restarts):
            first = restart * steps
            given = start is not None and not restart
            point = case.threat.project(start.to(case.x), case.x, case.bounds) if given else case.sample(first)  # type: ignore[union-attr]
            self.offer(point)
            for step in range(steps):
                point = proposals.next(case, point, self.best, first + step)
                self.forward, self.backward = self.forward + forward * len(point), self.backward + backward * len(point)
                if step % proposals.period == proposals.period - 1 or step == steps - 1:
                    self.offer(point)

    def offer(self, point: Tensor) -> None:
        """Keep the points that are classified alike and explained most otherwise."""
        self.forward += len(point)
        with torch.no_grad():
            logits = self.model.logits(point)
        chosen = logits.gather(1, self.case.target[:, None]).squeeze(1)
        rows = (margin(logits, self.case.target) < -_SURE * (1 + chosen.abs())).nonzero().flatten()
        if not len(rows):
            return
        values = self._explain(point[rows], self.case.target[rows]).values
        reached = self.case.goal.reached(values, self.case.before[rows])
        better = reached > self.reached[rows]
        kept = rows[better]
        self.best[kept], self.values[kept], self.reached[kept] = point[kept], values[better], reached[better]

    def verdict(self) -> tuple[Tensor, Tensor, Tensor]:
        """Whether predictions are kept (n,), the inputs and their attributions; clean ones where anything is amiss."""
        case = self.case
        self.forward += len(self.best)
        kept = self.model.predict(self.best) == case.target
        fine = kept & contains(case.threat, self.best, case.x, case.bounds)
        self.best[~fine], self.values[~fine] = case.x[~fine], case.before[~fine]
        return kept, self.best, self.values

    def _explain(self, points: Tensor, target: Tensor) -> Attribution:
        found = self.explainer(self.model, points, target, seed=self.seed)
        self.forward, self.backward = self.forward + found.cost.forward, self.backward + found.cost.backward
        return found
