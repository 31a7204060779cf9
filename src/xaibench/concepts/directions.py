"""Concept activation vectors: the direction in a layer that tells a concept's activations from others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError

__all__ = ["ConceptDirection", "concept_direction"]

_HELD_OUT = 1 / 3


@dataclass(frozen=True, kw_only=True)
class ConceptDirection:
    """A unit vector that points towards a concept."""

    vector: Tensor
    """(d,), float64."""
    accuracy: float
    """The share of activations, kept out of the fit, that lie on the right side; a half is chance."""


def concept_direction(concept: Tensor, others: Tensor, *, penalty: float = 1.0) -> ConceptDirection:
    """The concept activation vector of activations (k, d) against those of others (m, d), by logistic regression.

    Kim et al., *Interpretability beyond feature attribution: quantitative testing with concept activation vectors*
    (ICML 2018). The last third of either is kept out of the fit. Activations are divided by their root mean square
    distance from their mean, so that ``penalty``, the weight of the squared norm of the coefficients, means the same
    in every layer.

    Raises `InputError` for fewer than two of either, and `UnsupportedError` where all activations are the same.
    """
    if min(len(concept), len(others)) < 2:
        raise InputError(f"expected at least two inputs of a concept and two others, got {len(concept)}, {len(others)}")
    from sklearn.linear_model import LogisticRegression

    kept = [max(1, round(len(part) * _HELD_OUT)) for part in (concept, others)]
    fitted = torch.cat([concept[: -kept[0]], others[: -kept[1]]]).double()
    labels = np.repeat([1, 0], [len(concept) - kept[0], len(others) - kept[1]])
    mean = fitted.mean(dim=0)
    centred = fitted - mean
    if not bool(centred.isfinite().all()):
        raise UnsupportedError("expected finite activations, got NaN or infinity")
    scale = float(centred.square().sum(dim=1).mean().sqrt())
    if scale <= 1e-9 * float(fitted.abs().max()):
        raise UnsupportedError("expected activations that differ, got the same for the concept and all others")
    # The solution lies in the span of the samples, which are far fewer than the units of most layers.
    _, sizes, axes = torch.linalg.svd(centred / scale, full_matrices=False)
    axes = axes[sizes > 1e-9 * sizes[0]]
    regression = LogisticRegression(C=1 / penalty, max_iter=1000)
    regression.fit((centred / scale @ axes.T).numpy(), labels)
    coefficients = torch.from_numpy(regression.coef_[0]) @ axes
    if not bool(coefficients.any()):
        raise UnsupportedError("expected activations that tell the concept from others, got the same for both")
    threshold = -float(regression.intercept_[0])
    sides = [(part.double() - mean) / scale @ coefficients > threshold for part in (concept, others)]
    right = torch.cat([sides[0][-kept[0] :], ~sides[1][-kept[1] :]])
    return ConceptDirection(vector=coefficients / coefficients.norm(), accuracy=float(right.double().mean()))
