"""How to make a report again."""

from __future__ import annotations

import shlex

from xaibench.evaluate import ModelOptions, Plan
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
    "proofs": "--proofs",
    "minimal": "--minimal",
    "corruptions": "--corruptions",
    "assessed": "--assessed",
    "compared": "--compared",
    "manipulated": "--manipulated",
}


def command(plan: Plan) -> str | None:
    """The command line of a settled plan; None where it has settings that only Python offers.

    >>> command(Plan(model="digits-cnn", data="digits", n=50))
    'xaibench report digits-cnn --data digits --split test --norm linf --n 50 --seed 0 --samples 6 --proofs \
100 --assessed 16 --compared 32 --attack fgsm --attack pgd --attack verdict --explainer saliency \
--explainer integrated_gradients'
    """
    if plan.given or plan.batch_size is not None or not plan.attacks or not plan.explainers or not _usual_curve(plan):
        return None
    options = {
        name: ",".join(map(str, value)) if isinstance(value, tuple) else value
        for name, value in plan.options.chosen.items()
    }
    if ModelOptions.of(options) != plan.options:  # a class name with a comma
        return None
    words = ["xaibench", "report", plan.model]
    words += [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    for name, flag in _FLAGS.items():
        value = getattr(plan, name)
        if value is not None:
            words += [flag, str(value)]
    words += ["--thorough"] * plan.thorough + ["--no-checks"] * (not plan.checks)
    words += [word for spec in plan.attacks for word in ("--attack", spec)]
    words += [word for spec in plan.explainers for word in ("--explainer", spec)]
    return shlex.join(words)


def python_call(plan: Plan) -> str:
    """The same from Python."""
    values = plan.model_dump(exclude_defaults=True, exclude={"given"})
    arguments = ", ".join(f"{name}={value!r}" for name, value in values.items())
    objects = "".join(f", {name}={name}" for name in plan.given)
    return f"xaibench.run(xaibench.Plan({arguments}){objects})"


def _usual_curve(plan: Plan) -> bool:
    if plan.curve is None or plan.eps is None:
        return True
    usual = sorted({0.0, plan.eps, *customary_curve(plan.norm, plan.eps)})
    return list(plan.curve) == usual[: len(plan.curve)]
