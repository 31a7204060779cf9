"""RISE: pictures seen through random masks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.budget import samples_at_once
from xaibench.explainers.perturb import Perturbed
from xaibench.explainers.reading import check_pictures
from xaibench.explainers.target import TargetLogit
from xaibench.rng import SampleRng
from xaibench.types import Classifier, Inputs

__all__ = ["Rise"]

_MASK_BYTES = 32
"""Of working arrays for each pixel of a mask, at their peak."""
_SUM_BYTES = 27 * 8
"""Of working arrays for each pixel of a sample: three times nine sums."""
_SCORE_BYTES = 64
"""Of working arrays for each evaluation, at their peak."""


@explainers.register("rise")
@dataclass(frozen=True, kw_only=True)
class Rise:
    """How much higher the logit is, on average over random masks, where a pixel is seen.

    Petsiuk et al., *RISE: randomized input sampling for explanation of black-box models* (BMVC 2018). A mask is a grid
    of ``cells`` by ``cells``, each open with probability ``keep``, enlarged smoothly and shifted at random; what it
    hides is the baseline. A pixel's value is the mean logit weighted by how far it was seen, less the mean logit, so
    that zero means no effect: the paper's map without its offset. Images only; all channels get the same.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    samples: int = 2000
    cells: int = 7
    keep: float = 0.5

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise InputError(f"expected `samples` >= 2, got {self.samples}")
        if self.cells < 1:
            raise InputError(f"expected `cells` >= 1, got {self.cells}")
        if not 0 < self.keep < 1:
            raise InputError(f"expected 0 < `keep` < 1, got {self.keep}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`; raises `UnsupportedError` for texts and tables, which have no smooth masks."""
        if model.task != "image":
            raise UnsupportedError(
                f"rise masks images smoothly, got {model.task}: shapley_sampling and lime take words and features"
            )
        logit = TargetLogit(self, model, inputs, targets, needs=())
        check_pictures(self.name, logit.x)
        baseline = baseline_inputs(self.baseline, model, logit.x)
        maps = logit.in_groups(
            _SUM_BYTES * logit.x[:1, 0].numel(), lambda rows: self._weigh(logit.part(rows), baseline[rows], seed)
        )
        values, stderr = (part.view(-1, 1, *logit.x.shape[2:]).expand(logit.x.shape).contiguous() for part in maps)
        return logit.attribution(values, seed=seed, baseline=baseline, stderr=stderr)

    def _weigh(self, logit: TargetLogit, baseline: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Values of pixels and their standard errors, (n, pixels)."""
        perturbed, n = Perturbed(logit, baseline), len(logit.x)
        sums = torch.zeros((), dtype=torch.float64, device=logit.x.device)
        at_once = samples_at_once(_MASK_BYTES * logit.x[:1, 0].numel() + _SCORE_BYTES * n)
        for part in torch.arange(self.samples, device=logit.x.device).split(at_once):
            masks, count = self._masks(part, logit.x, seed), len(part)
            rows = torch.arange(n, device=part.device).repeat_interleave(count)
            scores = perturbed.score(rows, partial(_repeated, masks)).view(n, 1, count)
            powers = torch.cat([torch.ones_like(scores), scores, scores.square()], dim=1)
            seen = masks.flatten(1).double()
            sums = sums + torch.stack([powers @ torch.ones_like(seen), powers @ seen, powers @ seen.square()])
        return _weighted_mean(sums, self.samples)

    def _masks(self, numbers: Tensor, x: Tensor, seed: int) -> Tensor:
        """Masks (m, 1, height, width) in [0, 1] with these numbers (m,): the same for all images."""
        rng = SampleRng(numbers, seed, "rise")
        sides = [-(-side // self.cells) for side in x.shape[2:]]
        open_cells = (rng.uniform((1, self.cells + 1, self.cells + 1)) < self.keep).to(torch.float32)
        large = F.interpolate(
            open_cells, size=[(self.cells + 1) * side for side in sides], mode="bilinear", align_corners=False
        )
        shift = replace(rng, stream="rise shift").uniform((2,)) * torch.tensor(sides, device=x.device)
        for axis, by in zip((2, 3), shift.long().unbind(dim=1), strict=True):
            place = by[:, None] + torch.arange(x.shape[axis], device=x.device)
            shape = [len(large), 1, -1, 1] if axis == 2 else [len(large), 1, 1, -1]
            size = [-1, -1, -1, large.shape[3]] if axis == 2 else [-1, -1, large.shape[2], -1]
            large = large.gather(axis, place.view(shape).expand(size))
        return large


def _repeated(masks: Tensor, row: int, part: slice) -> Tensor:
    """The masks of a part of the evaluations, where each sample in turn has all masks."""
    first = row * len(masks)
    return masks[part.start - first : part.stop - first]


def _weighted_mean(sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean logits weighted by masks, less the mean logit, (n, pixels), and their standard errors (delta method).

    ``sums`` (3, n, 3, pixels) are over ``count`` masks, of products of mask to the power of the first index and of
    logit to the power of the third.
    """
    (_, f, ff), (m, mf, mff), (mm, mmf, mmff) = (part.unbind(dim=1) for part in sums)
    mean, seen, scale = f / count, mf / m.clamp_min(1e-12), count / m.clamp_min(1e-12)
    # Each mask adds scale * m * (f - seen) - (f - mean) to the error of the difference: its square, summed.
    square = (
        scale.square() * (mmff - 2 * seen * mmf + seen.square() * mm)
        - 2 * scale * (mff - (seen + mean) * mf + seen * mean * m)
        + (ff - count * mean.square())
    )
    return seen - mean, (square.clamp_min(0) / (count - 1) / count).sqrt()
