"""Filling in what a plan leaves open, and refusing a threat that does not fit, before any work is done."""

from __future__ import annotations

import math

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.evaluate.plan import Plan
from xaibench.threats import Threat, check_threat, feature_scale, threat
from xaibench.types import Classifier

__all__ = ["customary_curve", "settle", "threat_at"]

_FRACTIONS = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0)


def _data_name(plan: Plan, model: Classifier) -> str:
    if plan.data is not None:
        return plan.data
    if model.card is None:
        raise InputError(f"expected `data` for {plan.model}, which does not say what it was trained on, got none")
    return model.card.data.name


def settle(plan: Plan, model: Classifier, data: Data) -> Plan:
    """The plan with every open field filled in: data, n, eps, curve and weights of the defaults."""
    values = {**plan.model_dump(), "data": _data_name(plan, model), "n": len(data)}
    if model.task == "text" or not plan.attacks:
        return Plan(**values)
    shape = tuple(data.inputs.shape[1:])  # type: ignore[union-attr]
    eps = plan.eps if plan.eps is not None else _customary(plan.norm, model, shape)
    check_threat(threat_at(plan, eps, model), model.bounds, shape)
    curve = plan.curve
    if curve is None:
        curve = tuple(radius for radius in customary_curve(plan.norm, eps) if _fits(plan, radius, model, shape))
    else:
        for radius in filter(None, curve):
            check_threat(threat_at(plan, radius, model), model.bounds, shape)
    values.update(eps=eps, curve=tuple(sorted({0.0, eps, *curve})))
    return Plan(**values)


def customary_curve(norm: str, eps: float) -> tuple[float, ...]:
    """Radii below and a little above ``eps``, which is not among them.

    >>> customary_curve("linf", 0.1)
    (0.025, 0.05, 0.075, 0.125, 0.15, 0.2)
    """
    radii = [round(eps * fraction, 10) for fraction in _FRACTIONS]
    return tuple(float(math.ceil(radius)) for radius in radii) if norm == "l0" else tuple(radii)


def threat_at(plan: Plan, radius: float, model: Classifier) -> Threat:
    """The plan's threat model at a radius; for tables a radius is a fraction of each feature's range."""
    scale = None if plan.norm == "l0" else feature_scale(model.task, model.bounds)
    return threat(plan.norm, radius, scale)


def _fits(plan: Plan, radius: float, model: Classifier, shape: tuple[int, ...]) -> bool:
    try:
        check_threat(threat_at(plan, radius, model), model.bounds, shape)
    except InputError:
        return False
    return True


def _customary(norm: str, model: Classifier, shape: tuple[int, ...]) -> float:
    """A radius of the size that the field reports for such data.

    Linf: 0.1 for tables and grey images, 8/255 for colour, in units of the input range; the other norms are a share
    of the corner of that box, about what is reported for CIFAR-10 and MNIST.
    """
    size = math.prod(shape)
    base = 8 / 255 if model.task == "image" and shape[0] > 1 else 0.1
    if norm == "l0":
        return float(math.ceil(size / 100))
    if model.task == "image" and not isinstance(model.bounds.span, tuple):
        base *= model.bounds.span
    radius = {"linf": base, "l2": base * math.sqrt(size) / 4, "l1": base * size / 8}[norm]
    return radius if norm == "linf" else float(f"{radius:.2g}")
