"""The threat that a comparison takes where none is asked for."""

from __future__ import annotations

from xaibench.evaluate import Plan
from xaibench.types import Classifier

__all__ = ["trained_threat"]


def trained_threat(plan: Plan, models: tuple[Classifier, Classifier]) -> tuple[Plan, str | None]:
    """The plan with the threat that a model's recipe trained it against, and that model's name.

    So the second model's is taken, or else the first's, where the plan leaves the radius open, and the norm open or the
    same. Without such a recipe, or with one in units of its own, the plan stays as it is: the customary radius.
    """
    if plan.eps is not None or not plan.attacks:
        return plan, None
    for card in (model.card for model in reversed(models) if model.card):
        threat = card.recipe.get("threat") or {}
        norm = threat.get("norm", "linf")
        if not threat or threat.get("scale") or ("norm" in plan.model_fields_set and norm != plan.norm):
            continue
        return Plan(**{**plan.model_dump(), "norm": norm, "eps": threat.get("eps")}), card.name
    return plan, None
