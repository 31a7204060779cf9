"""Occlusion: a window slides over the input, and what it covers is missed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.perturb import Perturbed
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["Occlusion"]


@explainers.register("occlusion")
@dataclass(frozen=True, kw_only=True)
class Occlusion:
    """By how much the logit falls when a window over the input is replaced by the baseline.

    Zeiler & Fergus, *Visualizing and understanding convolutional networks* (ECCV 2014). An element gets the mean fall
    over the windows that cover it. ``window`` is the side of a square of pixels, or a number of words or features; 0
    takes a quarter of an image's shorter side, and 1 elsewhere. Windows are ``stride`` apart; 0 takes half a window.
    The last ones end with the input.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    window: int = 0
    stride: int = 0

    def __post_init__(self) -> None:
        if self.window < 0 or self.stride < 0:
            raise InputError(f"expected `window` and `stride` >= 0, got {self.window} and {self.stride}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets, needs=())
        baseline = baseline_inputs(self.baseline, model, logit.x)
        windows = self._windows(logit.x)
        n = len(logit.x)
        # The first mask leaves the input as it is. A window where the baseline is the input changes nothing.
        masks = torch.cat([torch.ones_like(windows[:1]), ~windows]).to(torch.float32)
        matters = torch.stack([(windows & differs).flatten(1).any(dim=1) for differs in logit.x != baseline])
        rows, which = torch.nn.functional.pad(matters, (1, 0), value=True).nonzero(as_tuple=True)
        scores = Perturbed(logit, baseline).score(rows, lambda _, part: masks[which[part]])
        full = scores[which == 0]
        fall = torch.zeros(n, len(masks), dtype=torch.float64, device=logit.x.device)
        fall[rows, which] = full[rows] - scores
        cover = windows.flatten(1).double()
        mean = (fall[:, 1:] @ cover / cover.sum(dim=0)).view(n, *windows.shape[1:])
        return logit.attribution(mean.expand(logit.x.shape).contiguous(), seed=seed, baseline=baseline)

    def _windows(self, x: Tensor) -> Tensor:
        """What each window covers: bool (windows, 1, height, width), or (windows, length)."""
        sides = x.shape[2:] if x.ndim == 4 else x.shape[1:]
        window = self.window or (max(1, min(sides) // 4) if x.ndim == 4 else 1)
        if window > min(sides):
            raise InputError(f"expected `window` of at most {min(sides)}, got {window}")
        stride = self.stride or max(1, window // 2)
        if stride > window:
            raise InputError(
                f"expected `stride` of at most the window of {window}, got {stride}: parts would be missed"
            )
        covers = [_covers(side, window, stride).to(x.device) for side in sides]
        if len(covers) == 1:
            return covers[0]
        rows, columns = covers
        return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)[:, None]


def _covers(side: int, window: int, stride: int) -> Tensor:
    """Bool (windows, side): what the windows along one side cover."""
    start = torch.arange(0, side - window + stride, stride).clamp_max(side - window)
    place = torch.arange(side)
    return (place >= start[:, None]) & (place < start[:, None] + window)
