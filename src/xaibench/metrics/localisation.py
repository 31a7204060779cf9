"""Whether attributions lie on the evidence, where it is known where that is.

What speaks for the target is positive, so that negative values count as none; the values of a pixel's channels are
added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.metrics.case import Case, QualityMetric, quality_metrics

__all__ = ["MaskAuc", "PointingGame", "RelevanceMass", "RelevanceRank", "SpuriousMass"]

_MASKS = "data whose evidence is known, with masks"


@quality_metrics.register("pointing_game")
@dataclass(frozen=True, kw_only=True)
class PointingGame:
    """1 where the largest value lies on the evidence, else 0; ties share.

    Zhang et al., *Top-down neural attention by excitation backprop* (IJCV 2018).
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        mask = _mask(case, self)
        values = case.parts.masked_fill(~case.present, -torch.inf)
        top = values == values.amax(dim=1, keepdim=True)
        return _defined(case, mask, (top & mask).sum(dim=1) / top.sum(dim=1).double())


@quality_metrics.register("relevance_mass")
@dataclass(frozen=True, kw_only=True)
class RelevanceMass:
    """Share of the positive attribution that lies on the evidence.

    Arras et al., *CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network explanations*
    (Information Fusion 2022). 0 where nothing is positive.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        mask = _mask(case, self)
        return _defined(case, mask, _share(case, mask))


@quality_metrics.register("relevance_rank")
@dataclass(frozen=True, kw_only=True)
class RelevanceRank:
    """Share of the evidence among as many parts as it has, those with the greatest values.

    Arras et al., *CLEVR-XAI* (Information Fusion 2022). Ties fall by lot.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        mask = _mask(case, self)
        size = mask.sum(dim=1)
        hits = ((case.ranks() < size[:, None]) & mask).sum(dim=1)
        return _defined(case, mask, hits / size.clamp_min(1).double())


@quality_metrics.register("mask_auc")
@dataclass(frozen=True, kw_only=True)
class MaskAuc:
    """Probability that a part on the evidence has a greater value than one beside it, ties counting half.

    The area under the ROC curve of values against the mask; 0.5 for a map drawn at random.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        mask = _mask(case, self)
        beside = case.present & ~mask
        values = case.parts.masked_fill(~case.present, torch.inf)
        ordered = values.sort(dim=1).values.contiguous()
        below = torch.searchsorted(ordered, values.contiguous())
        upto = torch.searchsorted(ordered, values.contiguous(), right=True)
        rank = (below + upto + 1).double() / 2
        inside, outside = mask.sum(dim=1).double(), beside.sum(dim=1).double()
        wins = (rank * mask).sum(dim=1) - inside * (inside + 1) / 2
        found = wins / (inside * outside).clamp_min(1)
        return _defined(case, mask, torch.where(outside > 0, found, torch.nan))


@quality_metrics.register("spurious_mass")
@dataclass(frozen=True, kw_only=True)
class SpuriousMass:
    """Share of the positive attribution that lies on a spurious cue, such as a watermark; NaN for samples without one.

    It says where the method sees evidence, not whether that is right: for a model that leans on the cue, a faithful
    method has a high share.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        case.need(self, "spurious_masks", "data with a spurious cue, with masks")
        assert case.spurious_masks is not None
        return _defined(case, case.spurious_masks, _share(case, case.spurious_masks))


def _mask(case: Case, metric: QualityMetric) -> Tensor:
    case.need(metric, "masks", _MASKS)
    assert case.masks is not None
    return case.masks


def _share(case: Case, mask: Tensor) -> Tensor:
    positive = case.parts.clamp_min(0) * case.present
    return (positive * mask).sum(dim=1) / positive.sum(dim=1).clamp_min(1e-300)


def _defined(case: Case, mask: Tensor, found: Tensor) -> Tensor:
    return torch.where((mask & case.present).any(dim=1), found, torch.nan)
