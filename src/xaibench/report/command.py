"""How to make a report again."""

from __future__ import annotations

import shlex

from xaibench.evaluate import Plan
from xaibench.evaluate.settle import customary_curve

__all__ = ["command", "python_call"]

_FLAGS = {
    "weights": "--weights",
    "data": "--data",
    "split": "--split",
    "norm": "--norm",
    "eps": "--eps",
    "n": "--n",
    "seed": "--seed",
    "samples": "--samples",
}


def command(plan: Plan) -> str | None:
    """The command line of a settled plan; None where it has settings that only Python offers.

    >>> command(Plan(model="digits-cnn", data="digits", n=50))
    'xaibench report digits-cnn --data digits --split test --norm linf --n 50 --seed 0 --samples 6 --attack fgsm \
--attack pgd --explainer saliency --explainer integrated_gradients'
    """
    if plan.batch_size is not None or not plan.attacks or not plan.explainers or not _usual_curve(plan):
        return None
    words = ["xaibench", "report", plan.model]
    for name, flag in _FLAGS.items():
        value = getattr(plan, name)
        if value is not None:
            words += [flag, str(value)]
    words += [word for spec in plan.attacks for word in ("--attack", spec)]
    words += [word for spec in plan.explainers for word in ("--explainer", spec)]
    return shlex.join(words)


def python_call(plan: Plan) -> str:
    """The same from Python."""
    arguments = ", ".join(
        f"{name}={value!r}"
        for name, value in plan.model_dump().items()
        if value != type(plan).model_fields[name].get_default()
    )
    return f"xaibench.run(xaibench.Plan({arguments}))"


def _usual_curve(plan: Plan) -> bool:
    if plan.curve is None or plan.eps is None:
        return True
    usual = sorted({0.0, plan.eps, *customary_curve(plan.norm, plan.eps)})
    return list(plan.curve) == usual[: len(plan.curve)]
