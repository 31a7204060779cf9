"""What every explainer shares: the protocol, the registry, and `explain`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.budget import DEFAULT_BUDGET, memory_budget
from xaibench.explainers.examine import examine
from xaibench.registry import Registry, Spec
from xaibench.rng import check_seed
from xaibench.types import Classifier, Inputs, check_classifier

__all__ = ["Explainer", "Targets", "explain", "explainers"]

Targets = Tensor | Sequence[int] | np.ndarray | int | None
"""Classes to explain: one for each sample (n,), the same for all, or None for the predicted ones."""


class Explainer(Protocol):
    """A way to share a logit out among the parts of an input."""

    name: ClassVar[str]

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """Attributions of the target logits to inputs (n, ...): tensors, token ids, or n strings for text.

        They do not depend on how samples are batched: what is drawn is drawn by ``seed`` and the sample itself. Of the
        checks, those are made that need no further explanations; `explain` makes all.

        Raises `InputError` for targets that do not fit, and `UnsupportedError` for a model without what is needed.
        """
        ...


explainers: Registry[Explainer] = Registry("explainer")
"""Explainers by name."""


def explain(
    model: Classifier,
    inputs: Inputs,
    targets: Targets = None,
    *,
    method: str = "integrated_gradients",
    seed: int = 0,
    trust: Literal["full", "quick"] = "full",
    memory: int = DEFAULT_BUDGET,
    **params: Any,
) -> Attribution:
    """Explain predictions by a method's name or spec: see `Explainer` and `Attribution`.

    ``params`` are the method's fields, beyond those in the spec, none of them twice. ``trust="quick"`` leaves out the
    checks that explain again: copies of the model with random weights, and the inputs after a little noise. ``memory``
    bounds, in bytes, what a pass through the model and the method's working arrays hold beside inputs and results.
    """
    if trust not in ("full", "quick"):
        raise InputError(f"expected trust as 'full' or 'quick', got {trust!r}")
    check_classifier(model)
    check_seed(seed)
    explainer = explainers.create(Spec.parse(method).adding(params))
    with memory_budget(memory):
        found = explainer(model, inputs, targets, seed=seed)
        return examine(found, explainer, model, inputs) if trust == "full" else found
