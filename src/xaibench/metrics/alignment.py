"""Do attributions look like the image that they are of?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError
from xaibench.metrics.agreement import magnitudes, rank_correlation, varied
from xaibench.metrics.case import Case, quality_metrics

__all__ = ["InputAlignment", "edge_correlation", "edges"]


@quality_metrics.register("input_alignment")
@dataclass(frozen=True, kw_only=True)
class InputAlignment:
    """Length of the input along its attribution, ``|<x, v>| / ||v||``: high where the map points the way of the input.

    Etmann et al., *On the connection between adversarial robustness and saliency map interpretability* (ICML 2019), who
    take the signed gradient of the logit for ``v`` (``saliency:absolute=false``): for a linear logit without bias it is
    the L2 distance to its zero. In units of the input's L2 norm, between 0 and ``||x||``, so that only figures of the
    same inputs compare. The origin counts: a black pixel is aligned with nothing.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = True

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`; NaN for a map that is zero everywhere."""
        case.need(self, "bounds", "inputs that are numbers")
        x, values = (part.double().flatten(1) for part in (case.x, case.values))
        size = values.norm(dim=1)
        return ((x * values).sum(dim=1).abs() / size).masked_fill(size == 0, torch.nan)


def edges(x: Tensor) -> Tensor:
    """How sharply images (n, channels, height, width) change at each place: (n, height, width), float64.

    The size of the gradient by the operator of Sobel and Feldman (*A 3x3 isotropic gradient operator for image
    processing*, 1968), over all channels; images go on beyond their border as they end there.
    """
    if x.ndim != 4:
        raise InputError(f"expected images (n, channels, height, width), got {tuple(x.shape)}")
    across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], dtype=torch.float64, device=x.device)
    kernels = torch.stack([across, across.T])[:, None]
    padded = F.pad(x.double().flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    found = F.conv2d(padded, kernels).square().sum(dim=1)
    return found.view(len(x), -1, *x.shape[2:]).sum(dim=1).sqrt()


def edge_correlation(values: Tensor, x: Tensor) -> Tensor:
    """Rank correlation (n,), float64, of the magnitudes of attributions with the `edges` of their images ``x``.

    A description, not a merit: Adebayo et al., *Sanity checks for saliency maps* (NeurIPS 2018), show that a map that
    does no more than detect edges looks convincing and says nothing of the model. NaN where either is the same
    everywhere. Raises `InputError` for anything but images.
    """
    sharp, size = edges(x)[:, None], magnitudes(values.double())[:, None]
    return rank_correlation(size, sharp).masked_fill(~(varied(size) & varied(sharp)), torch.nan)
