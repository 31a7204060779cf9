"""Several explainers on the same samples: what each says, how far it can be trusted, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explain, explainers
from xaibench.explainers.budget import DEFAULT_BUDGET
from xaibench.metrics import rank_correlation
from xaibench.types import Classifier, Inputs, Progress, Task, check_classifier, model_inputs

__all__ = ["DEFAULT_PANEL", "Comparison", "agreement", "compare_explainers"]

DEFAULT_PANEL: Mapping[Task, tuple[str, ...]] = {
    "image": ("saliency", "integrated_gradients", "grad_cam", "deep_lift", "lrp", "occlusion"),
    "text": ("saliency", "integrated_gradients", "feature_ablation", "attention_rollout"),
    "tabular": ("saliency", "integrated_gradients", "deep_lift", "shapley_sampling"),
}
"""Methods that together give a first picture of one sample in half a second, one or two of each kind, by task."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Attributions of m methods to the same n samples and targets."""

    attributions: Mapping[str, Attribution]
    """By the method's spec, in the order asked for."""
    refused: Mapping[str, str]
    """Methods that cannot explain the model, and why."""
    agreement: Tensor
    """(n, m, m), float64: rank correlation of each two methods, sample by sample; see `agreement`."""

    def mean_agreement(self) -> dict[str, float | None]:
        """For each method the mean of its rank correlations with the others; None where it is the only one."""
        methods = len(self.attributions)
        if methods < 2:
            return dict.fromkeys(self.attributions)
        others = (self.agreement.mean(dim=0).sum(dim=1) - 1) / (methods - 1)
        return dict(zip(self.attributions, others.tolist(), strict=True))

    def _repr_html_(self) -> str:
        from xaibench.explainers.drawn import comparison_html

        return comparison_html(self)


def compare_explainers(
    model: Classifier,
    inputs: Inputs,
    targets: Targets = None,
    *,
    methods: str | Sequence[str] | None = None,
    seed: int = 0,
    trust: Literal["full", "quick"] = "full",
    memory: int = DEFAULT_BUDGET,
    progress: Progress | None = None,
) -> Comparison:
    """Explain samples (n, ...) by several methods, all registered ones by default, for the same targets.

    A method that cannot explain the model is noted, not raised; see `xaibench.explain` for the rest.
    """
    check_classifier(model)
    methods = explainers.names() if methods is None else [methods] if isinstance(methods, str) else methods
    x = model_inputs(model, inputs)
    targets = model.predict(x) if targets is None else targets
    attributions, refused = {}, {}
    for done, method in enumerate(methods):
        if progress is not None:
            progress("explain", done, len(methods), {"method": method})
        try:
            attributions[method] = explain(model, x, targets, method=method, seed=seed, trust=trust, memory=memory)
        except UnsupportedError as error:
            refused[method] = str(error)
    if progress is not None:
        progress("explain", len(methods), len(methods), {})
    return Comparison(
        attributions=attributions, refused=refused, agreement=agreement(tuple(attributions.values()), len(x))
    )


def agreement(attributions: Sequence[Attribution], n: int) -> Tensor:
    """Spearman's rank correlation (n, m, m), float64, of each two of m attributions to the same n inputs.

    Channels of an image are added up first, for many methods know pixels alone; padding of texts is left out. Two
    methods that both tell for from against are compared with their signs, else by size.
    """
    found = torch.eye(len(attributions), dtype=torch.float64).repeat(n, 1, 1)
    views = [_views(attribution) for attribution in attributions]
    worded = attributions[0].worded if attributions else None
    kept = None if worded is None else worded.cpu()
    for i, (one, size) in enumerate(views):
        for j, (other, other_size) in enumerate(views[:i]):
            both = one is not None and other is not None
            pair = (one, other) if both else (size, other_size)
            found[:, i, j] = found[:, j, i] = rank_correlation(*pair, kept)  # type: ignore[arg-type]
    return found


def _views(attribution: Attribution) -> tuple[Tensor | None, Tensor]:
    """Values (n, d) with their signs, None for a method without any, and their sizes (n, d)."""
    values = attribution.values.cpu()
    if values.ndim == 4:
        signed, size = values.sum(dim=1), values.abs().sum(dim=1)
    else:
        signed, size = values, values.abs()
    return (signed.flatten(1) if bool((values < 0).any()) else None), size.flatten(1)
