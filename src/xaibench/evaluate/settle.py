"""Filling in what a plan leaves open, and refusing what does not fit together, before any work is done."""

from __future__ import annotations

import math

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.evaluate.plan import Plan
from xaibench.threats import Threat, check_threat, threat
from xaibench.types import Classifier

__all__ = ["check_match", "data_name", "settle", "threat_at"]

_FRACTIONS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


def data_name(plan: Plan, model: Classifier) -> str:
    """The data to evaluate on: the plan's, else what the model's card names."""
    if plan.data is not None:
        return plan.data
    if model.card is None:
        raise InputError(f"expected `data` for {plan.model}, which does not say what it was trained on, got none")
    return model.card.data.name


def check_match(model: Classifier, data: Data) -> None:
    """Refuse data that the model cannot classify."""
    if data.task != model.task:
        raise InputError(f"expected {model.task} data for this model, got {data.task} data ({data.name})")
    if len(data.class_names) != model.num_classes:
        raise InputError(
            f"expected data with the model's {model.num_classes} classes, got {len(data.class_names)} ({data.name})"
        )


def settle(plan: Plan, model: Classifier, data: Data) -> Plan:
    """The plan with every open field filled in: data, n, eps, curve and weights of the defaults."""
    values = {**plan.model_dump(), "data": data_name(plan, model), "n": len(data)}
    if model.task == "text" or not plan.attacks:
        return Plan(**values)
    shape = tuple(data.inputs.shape[1:])  # type: ignore[union-attr]
    eps = plan.eps if plan.eps is not None else _customary(plan.norm, model, shape)
    check_threat(threat_at(plan, eps, model), model.bounds, shape)
    curve = plan.curve
    if curve is None:
        radii = [round(eps * fraction, 10) for fraction in _FRACTIONS]
        if plan.norm == "l0":
            radii = [float(math.ceil(radius)) for radius in radii]
        curve = tuple(radius for radius in radii if _fits(plan, radius, model, shape))
    else:
        for radius in filter(None, curve):
            check_threat(threat_at(plan, radius, model), model.bounds, shape)
    values.update(eps=eps, curve=tuple(sorted({0.0, eps, *curve})))
    return Plan(**values)


def threat_at(plan: Plan, radius: float, model: Classifier) -> Threat:
    """The plan's threat model at a radius; for tables a radius is a fraction of each feature's range."""
    made = threat(plan.norm, radius)
    span = model.bounds.span
    if model.task != "tabular" or not isinstance(span, tuple) or plan.norm == "l0":
        return made
    return type(made)(radius, scale=span)


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
