"""Exact Shapley values of tree ensembles, by SHAP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xaibench.classifiers import SklearnClassifier
from xaibench.errors import UnsupportedError, first_line
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.shap_adapter.guard import guarded
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["ShapTree"]


@explainers.register("shap_tree")
@dataclass(frozen=True, kw_only=True)
class ShapTree:
    """Exact Shapley values of the probability that a tree or an ensemble of trees gives to a class.

    Lundberg et al., *From local explanations to global understanding with explainable AI for trees* (Nature Machine
    Intelligence 2020), the interventional variant, by SHAP: absent features have the baseline's values. They add up to
    the change of the probability, not of its logarithm, which is no sum over trees. For `SklearnClassifier` alone.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`; raises `UnsupportedError` for all but scikit-learn's trees and their ensembles."""
        if not isinstance(model, SklearnClassifier):
            raise UnsupportedError(f"shap_tree takes a SklearnClassifier over trees, got {type(model).__name__}")
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        values = torch.zeros_like(logit.x)
        for reference in baseline.unique(dim=0):
            rows = (baseline == reference).all(dim=1).nonzero().squeeze(1)
            values[rows] = _explain(model, logit.x[rows], reference[None], logit.target[rows])
        chosen = torch.arange(len(logit.x)), logit.target
        with torch.no_grad():
            change = model.logits(logit.x).exp()[chosen] - model.logits(baseline).exp()[chosen]
        logit.count(forward=2 * len(logit.x))
        return logit.attribution(
            values,
            seed=seed,
            baseline=baseline,
            change=change,
            notes=("values share out the probability of the class, not its logit",),
        )


def _explain(model: SklearnClassifier, x: Tensor, reference: Tensor, target: Tensor) -> Tensor:
    """Values (m, features), float64, against one reference (1, features)."""
    scale = model._interface.normalise
    try:
        with guarded(0) as shap:
            explainer = shap.TreeExplainer(
                model.estimator,
                scale(reference).numpy(),
                feature_perturbation="interventional",
                model_output="probability",
            )
            found: Any = np.asarray(explainer.shap_values(scale(x).numpy(), check_additivity=False))
    except Exception as error:  # whatever the estimator brings about inside SHAP
        kind = type(model.estimator).__name__
        raise UnsupportedError(f"shap_tree: SHAP cannot explain {kind}: {first_line(error)}") from error
    values = torch.from_numpy(found).double()
    if values.ndim == 2:  # of the second of two classes
        return values * (2 * target - 1)[:, None]
    return values[torch.arange(len(x)), :, target]
