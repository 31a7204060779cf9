"""Do attributions depend on what the model has learned, and on the class that they are for?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.metrics.agreement import rank_correlation, varied
from xaibench.metrics.case import Case, quality_metrics

__all__ = ["CascadingRandomisation", "ModelRandomisation", "RandomLogit"]


@quality_metrics.register("model_randomisation")
@dataclass(frozen=True, kw_only=True)
class ModelRandomisation:
    """Absolute rank correlation with the attributions for a model with random weights: near 0 if weights matter.

    Adebayo et al., *Sanity checks for saliency maps* (NeurIPS 2018).
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        case.need(self, "explain_randomised", "a model whose weights can be drawn again")
        assert case.explain_randomised is not None
        return _similar(case, case.explain_randomised(None)).abs()


@quality_metrics.register("cascading_randomisation")
@dataclass(frozen=True, kw_only=True)
class CascadingRandomisation:
    """As `ModelRandomisation`, averaged while layers lose their weights one after the other, from the output down.

    Adebayo et al., *Sanity checks for saliency maps* (NeurIPS 2018). Layers go in ``stages`` groups of about the same
    number.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    stages: int = 4

    def __post_init__(self) -> None:
        if self.stages < 1:
            raise InputError(f"expected `stages` >= 1, got {self.stages}")

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        case.need(self, "explain_randomised", "a model whose weights can be drawn again")
        if not case.layers:
            raise UnsupportedError(f"{self.name} needs a model with layers")
        assert case.explain_randomised is not None
        down, stages = case.layers[::-1], min(self.stages, len(case.layers))
        ends = [round(stage * len(down) / stages) for stage in range(1, stages + 1)]
        found = [_similar(case, case.explain_randomised(down[:end])).abs() for end in ends]
        return torch.stack(found).nanmean(dim=0)


@quality_metrics.register("random_logit")
@dataclass(frozen=True, kw_only=True)
class RandomLogit:
    """Rank correlation with the attributions of another class, drawn at random: low if the class matters.

    Sixt et al., *When explanations lie: why many modified BP attributions fail* (ICML 2020). Two classes are refused:
    what speaks for one speaks against the other, whatever the method looks at.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        case.need(self, "explain", "the explainer itself")
        assert case.explain is not None
        classes = case.logits(case.x[:1]).shape[1]
        if classes < 3:
            raise UnsupportedError(f"{self.name} needs three classes or more, got {classes}")
        step = 1 + (case.rng("other class").uniform(()) * (classes - 1)).long()
        return _similar(case, case.explain(case.x, (case.target + step) % classes))


def _similar(case: Case, values: Tensor) -> Tensor:
    """Rank correlation (n,) of all values that count; NaN where one of the two maps is the same everywhere."""
    where = None if case.where is None else case.where.view_as(values)
    ranked = varied(case.values, where) & varied(values, where)
    return rank_correlation(case.values, values, case.where).masked_fill(~ranked, torch.nan)
