"""Class activation maps: where in a layer's grid of places the evidence for a class lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.grid import GridLayer
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["EigenCAM", "GradCAM", "GradCAMPlusPlus", "HiResCAM", "LayerCAM", "ScoreCAM"]


@explainers.register("grad_cam")
@dataclass(frozen=True, kw_only=True)
class GradCAM:
    """Channels of a layer, weighted by their mean gradients and added up.

    Selvaraju et al., *Grad-CAM: visual explanations from deep networks via gradient-based localization* (ICCV 2017).
    What all maps share: ``layer`` is a name, or ``auto`` for the last layer that everything goes through and whose
    output is a grid of places, by channels or by tokens, on which the logits depend: see `GridLayer`. Maps are enlarged
    to the height and width of the images, bilinearly, and stand in every channel, so values do not add up to anything.
    ``relu`` leaves out what speaks against the class.
    """

    name: ClassVar[str]

    layer: str = "auto"
    relu: bool = True

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""

        def weighted(activations: Tensor, gradient: Tensor) -> Tensor:
            return (gradient.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1)

        return _by_gradient(self, TargetLogit(self, model, inputs, targets), weighted, seed=seed)


@explainers.register("grad_cam_plus_plus")
@dataclass(frozen=True, kw_only=True)
class GradCAMPlusPlus:
    """As Grad-CAM, with positive gradients weighted such that each place where a channel fires counts alike.

    Chattopadhay et al., *Grad-CAM++: generalized gradient-based visual explanations for deep convolutional networks*
    (WACV 2018), with the exponential of the logit as their score, up to a positive factor for each sample. See
    `GradCAM` for what all maps share.
    """

    name: ClassVar[str]

    layer: str = "auto"
    relu: bool = True

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""

        def weighted(activations: Tensor, gradient: Tensor) -> Tensor:
            # The paper's share g^2 / (2 g^2 + sum(A) g^3), with g^2 cancelled.
            divisor = 2 + activations.sum(dim=(2, 3), keepdim=True) * gradient
            share = (gradient > 0) / (divisor + (divisor == 0))
            return ((share * gradient).sum(dim=(2, 3), keepdim=True) * activations).sum(dim=1)

        return _by_gradient(self, TargetLogit(self, model, inputs, targets), weighted, seed=seed)


@explainers.register("hires_cam")
@dataclass(frozen=True, kw_only=True)
class HiResCAM:
    """Gradient times activation at each place, added up over channels.

    Draelos & Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of convolutional neural networks*
    (2020). Where all that follows the layer is linear, the map adds up, before it is enlarged, to the logit but for
    biases. See `GradCAM` for what all maps share.
    """

    name: ClassVar[str]

    layer: str = "auto"
    relu: bool = False

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""

        def weighted(activations: Tensor, gradient: Tensor) -> Tensor:
            return (gradient * activations).sum(dim=1)

        return _by_gradient(self, TargetLogit(self, model, inputs, targets), weighted, seed=seed)


@explainers.register("layer_cam")
@dataclass(frozen=True, kw_only=True)
class LayerCAM:
    """As HiRes-CAM, with positive gradients alone.

    Jiang et al., *LayerCAM: exploring hierarchical class activation maps for localization* (IEEE TIP 2021). See
    `GradCAM` for what all maps share.
    """

    name: ClassVar[str]

    layer: str = "auto"
    relu: bool = True

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""

        def weighted(activations: Tensor, gradient: Tensor) -> Tensor:
            return (gradient.relu() * activations).sum(dim=1)

        return _by_gradient(self, TargetLogit(self, model, inputs, targets), weighted, seed=seed)


@explainers.register("eigen_cam")
@dataclass(frozen=True, kw_only=True)
class EigenCAM:
    """The first principal component of the activations, in which the class has no part.

    Muhammad & Yeasin, *Eigen-CAM: class activation map using principal components* (IJCNN 2020): activations, not
    centred, projected on their first right singular vector. Its sign, which is free, is such that the map adds up to
    something positive. It takes no gradients. See `GradCAM` for what all maps share.
    """

    name: ClassVar[str]

    layer: str = "auto"
    relu: bool = True

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        grid = GridLayer(logit, self.name, self.layer)
        maps = []
        for rows in logit.split(len(logit.x), backward=False):
            activations = grid.activations(rows)
            left, strengths, _ = torch.linalg.svd(activations.flatten(2).transpose(1, 2), full_matrices=False)
            found = left[:, :, 0] * strengths[:, :1]
            found = found * (1 - 2 * (found.sum(dim=1, keepdim=True) < 0).to(found.dtype))
            maps.append(found.unflatten(1, activations.shape[2:]))
        return _attribution(logit, grid, torch.cat(maps), relu=self.relu, seed=seed, note="the same for every class")


@explainers.register("score_cam")
@dataclass(frozen=True, kw_only=True)
class ScoreCAM:
    """Channels of a layer, weighted by what the logit gains when only what a channel shows is seen.

    Wang et al., *Score-CAM: score-weighted visual explanations for convolutional neural networks* (CVPR Workshops
    2020): each channel, enlarged and stretched to [0, 1], fades the image in over the ``baseline``; weights are the
    softmax of the gains. It takes a forward pass for each channel and no gradients. See `GradCAM` for what all maps
    share.
    """

    name: ClassVar[str]

    layer: str = "auto"
    relu: bool = True
    baseline: Baseline = "auto"

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        grid = GridLayer(logit, self.name, self.layer)
        baseline = baseline_inputs(self.baseline, model, logit.x)
        maps = []
        for rows in logit.split(len(logit.x), backward=False):
            activations = grid.activations(rows)
            channels = activations.shape[1]
            scores = []
            for part in logit.split(len(rows) * channels, backward=False):
                place, channel = part // channels, part % channels
                row, mask = rows[place], _stretched(grid.enlarge(activations[place, channel]))
                scores.append(logit.score(row, torch.lerp(baseline[row], logit.x[row], mask[:, None])))
            # The logit of the baseline, over which these are gains, does not change their softmax.
            weights = torch.cat(scores).view(len(rows), channels).softmax(dim=1).to(activations.dtype)
            maps.append((weights[:, :, None, None] * activations).sum(dim=1))
        return _attribution(logit, grid, torch.cat(maps), relu=self.relu, seed=seed, baseline=baseline)


def _by_gradient(
    explainer: GradCAM | GradCAMPlusPlus | HiResCAM | LayerCAM,
    logit: TargetLogit,
    combine: Callable[[Tensor, Tensor], Tensor],
    *,
    seed: int,
) -> Attribution:
    """``combine`` makes maps (m, h, w) of activations and gradients (m, channels, h, w)."""
    grid = GridLayer(logit, explainer.name, explainer.layer)
    maps = [combine(grid.activations(rows), grid.gradient(rows)) for rows in logit.split(len(logit.x))]
    return _attribution(logit, grid, torch.cat(maps), relu=explainer.relu, seed=seed)


def _attribution(
    logit: TargetLogit,
    grid: GridLayer,
    maps: Tensor,
    *,
    relu: bool,
    seed: int,
    baseline: Tensor | None = None,
    note: str = "",
) -> Attribution:
    maps = maps.relu() if relu else maps
    empty = int((maps == 0).flatten(1).all(dim=1).sum())
    notes = (
        f"layer {grid.layer!r}{' after ReLU' * grid.rectified}, {maps.shape[1]} x {maps.shape[2]} places",
        note,
        f"{empty} of {len(maps)} maps are zero everywhere" if empty else "",
    )
    values = grid.enlarge(maps)[:, None].expand_as(logit.x).clone()
    return logit.attribution(values, seed=seed, baseline=baseline, notes=tuple(filter(None, notes)))


def _stretched(maps: Tensor) -> Tensor:
    """Maps (m, h, w) from 0 at their least to 1 at their largest; constant ones are 0."""
    low, high = maps.amin(dim=(1, 2), keepdim=True), maps.amax(dim=(1, 2), keepdim=True)
    return (maps - low) / (high - low + (high == low))
