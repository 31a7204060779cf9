"""Filling in what a plan leaves open, and refusing a threat that does not fit, before any work is done."""

from __future__ import annotations

import math
from typing import Any

from xaibench.attacks.base import attacks_for
from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.evaluate.plan import Plan
from xaibench.registry import Spec
from xaibench.robustness import ensemble_names
from xaibench.threats import Spatial, Threat, Words, check_threat, feature_scale, threat
from xaibench.types import Bounds, Classifier, Task, model_inputs

__all__ = ["customary_curve", "customary_eps", "customary_threat", "settle", "threat_at"]

_FRACTIONS = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0)
_HALVES = (0.25, 0.5, 2.0)
_COUNTED = ("l0", Words.norm)

_MINIMAL, _CORRUPTED, _MANIPULATED = 50, 100, 16


def _data_name(plan: Plan, model: Classifier) -> str:
    if plan.data is not None:
        return plan.data
    if model.card is None:
        raise InputError(f"expected `data` for {plan.model}, which does not say what it was trained on, got none")
    return model.card.data.name


def settle(plan: Plan, model: Classifier, data: Data) -> Plan:
    """The plan with every open field filled in: data, n, attacks, norm, eps, curve, and numbers of samples."""
    values = {**plan.model_dump(), "data": _data_name(plan, model), "n": len(data)}
    values |= _fitting(plan, model)
    corruptible = model.task == "image" and isinstance(model.bounds.span, float)
    if plan.minimal is None:
        values["minimal"] = 0 if model.task == "text" or not values["attacks"] else _MINIMAL
    if plan.manipulated is None:
        values["manipulated"] = 0 if model.task == "text" or not values["attacks"] else _MANIPULATED
    if plan.corruptions is None:
        values["corruptions"] = _CORRUPTED if corruptible else 0
    plan = Plan(**values)
    if not plan.attacks:
        return plan
    shape = _shape(model, data)
    eps = plan.eps if plan.eps is not None else customary_eps(plan.norm, model.task, shape, model.bounds)
    check_threat(threat_at(plan, eps, model), model.bounds, shape)
    curve = plan.curve
    if curve is None:
        curve = tuple(radius for radius in customary_curve(plan.norm, eps) if _fits(plan, radius, model, shape))
    else:
        for radius in filter(None, curve):
            check_threat(threat_at(plan, radius, model), model.bounds, shape)
    return Plan(**{**plan.model_dump(), "eps": eps, "curve": tuple(sorted({0.0, eps, *curve}))})


def customary_curve(norm: str, eps: float) -> tuple[float, ...]:
    """Radii below and a little above ``eps``, which is not among them.

    >>> customary_curve("linf", 0.1)
    (0.025, 0.05, 0.075, 0.125, 0.15, 0.2)
    >>> customary_curve("words", 4)
    (1.0, 2.0, 8.0)
    """
    radii = [round(eps * fraction, 10) for fraction in (_HALVES if norm == Words.norm else _FRACTIONS)]
    return tuple(float(math.ceil(radius)) for radius in radii) if norm in _COUNTED else tuple(radii)


def threat_at(plan: Plan, radius: float, model: Classifier) -> Threat:
    """The plan's threat model at a radius, as `customary_threat` has it."""
    return customary_threat(plan.norm, radius, model)


def customary_threat(norm: str, radius: float, model: Classifier, **rules: Any) -> Threat:
    """The threat model of a norm around inputs of a model; for tables a radius is a fraction of each feature's range.

    ``rules`` are those of `threat`.
    """
    if norm == Words.norm:
        return Words(int(radius), **rules).fit(model)
    scale = None if norm in ("l0", Spatial.norm) else feature_scale(model.task, model.bounds)
    return threat(norm, radius, scale, **rules)


def _fitting(plan: Plan, model: Classifier) -> dict[str, Any]:
    """Norm and attacks where the plan leaves them at their defaults; those that do not fit the task are refused."""
    fields = Plan.model_fields
    text = model.task == "text"
    norm = Words.norm if text and plan.norm == fields["norm"].default else plan.norm
    if (norm == Words.norm) != text:
        raise InputError(
            f"expected {'words' if text else 'linf, l2, l1 or l0'} as the norm for {model.task}, got {norm}"
        )
    exist = (*(("verdict",) if text else ensemble_names()), *attacks_for(model.task))
    if plan.attacks == fields["attacks"].default:
        return {"norm": norm, "attacks": tuple(name for name in plan.attacks if name in exist)}
    for name in (Spec.parse(spec).name for spec in plan.attacks):
        if name not in exist:
            raise InputError(f"expected an attack that exists for {model.task} ({', '.join(exist)}), got {name}")
    return {"norm": norm}


def _shape(model: Classifier, data: Data) -> tuple[int, ...]:
    """Shape of one input, without the batch."""
    return tuple(model_inputs(model, data.inputs[:1]).shape[1:])


def _fits(plan: Plan, radius: float, model: Classifier, shape: tuple[int, ...]) -> bool:
    try:
        check_threat(threat_at(plan, radius, model), model.bounds, shape)
    except InputError:
        return False
    return True


def customary_eps(norm: str, task: Task, shape: tuple[int, ...], bounds: Bounds) -> float:
    """A radius of the size that the field reports for such data.

    Linf: 0.1 for tables and grey images, 8/255 for colour, in units of the input range; the other norms are a share
    of the corner of that box, about what is reported for CIFAR-10 and MNIST. Text: 4 words.
    """
    if norm == Words.norm:
        return float(min(4, shape[0]))
    size = math.prod(shape)
    base = 8 / 255 if task == "image" and shape[0] > 1 else 0.1
    if norm == "l0":
        return float(math.ceil(size / 100))
    if task == "image" and not isinstance(bounds.span, tuple):
        base *= bounds.span
    radius = {"linf": base, "l2": base * math.sqrt(size) / 4, "l1": base * size / 8}[norm]
    return radius if norm == "linf" else float(f"{radius:.2g}")
