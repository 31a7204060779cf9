"""One attack on a few samples, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from xaibench.data import Data
from xaibench.evaluate.align import align
from xaibench.evaluate.batches import batch_logits
from xaibench.evaluate.inputs import rows_at
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.settle import settle, threat_at
from xaibench.robustness import RobustnessResult, evaluate_robustness
from xaibench.threats import Threat
from xaibench.types import Classifier, model_inputs

__all__ = ["Trial", "try_attack"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What an attack did to n samples; tensors on the CPU."""

    threat: Threat
    ids: Tensor
    """(n,) rows in the full split."""
    x: Tensor
    """(n, ...) inputs; token ids for text."""
    labels: Tensor
    predictions: Tensor
    confidence: Tensor
    """(n,) probability of the predicted class of the clean input."""
    attacked_confidence: Tensor
    """(n,) probability of the predicted class of the adversarial one."""
    result: RobustnessResult


def try_attack(
    model: Classifier,
    data: Data,
    *,
    attack: str | None = None,
    norm: str = "linf",
    eps: float | None = None,
    index: Sequence[int] | None = None,
    seed: int = 0,
) -> Trial:
    """Attack samples of a classifier: those whose rows in the split are ``index``, else all of ``data``.

    ``attack`` is that of `evaluate_robustness`, ``norm`` and ``eps`` those of a `Plan`. Raises `InputError` for what
    does not fit the model, and for rows that the split does not have.
    """
    if index:
        data = rows_at(data, index)
    data = align(model, data)
    given = {"model": "given", "data": data.name, "attacks": (attack or "verdict",), "norm": norm, "eps": eps}
    plan = settle(Plan(**given, curve=(), seed=seed), model, data)
    assert plan.eps is not None
    threat = threat_at(plan, plan.eps, model)
    x = model_inputs(model, data.inputs).to(model.device)
    result = evaluate_robustness(
        model,
        x,
        data.labels,
        threat=threat,
        attack=plan.attacks[0],
        seed=seed,
        sample_ids=data.ids,
        certify=False,
        checks=False,
    )
    before, after = (
        batch_logits(model, part).softmax(dim=1).max(dim=1) for part in (x, result.adversarials.to(x.device))
    )
    return Trial(
        threat=threat,
        ids=data.ids,
        x=x.cpu(),
        labels=data.labels,
        predictions=before.indices,
        confidence=before.values,
        attacked_confidence=after.values,
        result=result,
    )
