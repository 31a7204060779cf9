"""Whether what is asked of a classifier applies to it, found out on one sample before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from xaibench.attacks import attacks
from xaibench.comparison.sides import Live
from xaibench.errors import InputError, UnsupportedError, first_line
from xaibench.evaluate.batches import batch_inputs
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.settle import settle, threat_at
from xaibench.explainers import explainers
from xaibench.robustness import ensemble_names

__all__ = ["check_attacks", "check_explainers"]

_FIRST = slice(0, 1)


def check_attacks(name: str, plan: Plan, live: Live) -> None:
    """Raise `InputError` for a threat or an attack of the plan that does not fit the classifier.

    Ensembles choose what fits a model themselves, and are not tried.
    """
    model, data = live.model, live.data
    plan = settle(plan, model, data)
    for spec in plan.attacks:
        if plan.eps is None or spec in ensemble_names():
            continue
        x, ids = batch_inputs(model, data, _FIRST), data.ids[_FIRST]
        try:
            attacks.create(spec)(model, x, data.labels[_FIRST], threat_at(plan, plan.eps, model), ids=ids)
        except UnsupportedError as error:
            raise _refused("attacks", spec, name, error) from None


def check_explainers(name: str, specs: Sequence[str], live: Live) -> None:
    """Raise `InputError` for an explainer that the classifier refuses."""
    for spec in specs:
        try:
            explainers.create(spec)(live.model, batch_inputs(live.model, live.data, _FIRST))
        except UnsupportedError as error:
            raise _refused("explainers", spec, name, error) from None


def _refused(what: str, spec: str, name: str, error: UnsupportedError) -> InputError:
    return InputError(f"expected {what} that apply to both models, got {spec} for {name}: {first_line(error)}")
