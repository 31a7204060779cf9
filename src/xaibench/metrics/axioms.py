"""Properties that attributions should have, and by how much they miss them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.metrics.case import Case, quality_metrics

__all__ = ["Completeness", "InputInvariance", "NonSensitivity"]


@quality_metrics.register("completeness")
@dataclass(frozen=True, kw_only=True)
class Completeness:
    """How far attributions miss the change of the logit from the baseline to the input, relative to it.

    Sundararajan et al., *Axiomatic attribution for deep networks* (ICML 2017). A method that promises completeness is
    held to the change that it promises, others to the change from their own baseline, else from the mean input. A
    change below 1e-3 counts as 1e-3.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        if case.gap is not None:
            return case.gap.double()
        baseline = case.baseline if case.reference is None else case.reference
        ends = case.sweep(2, lambda rows, step: torch.where(_like(step == 0, case.x), case.x[rows], baseline[rows]))
        change = ends[:, 0] - ends[:, 1]
        return (case.values.double().flatten(1).sum(dim=1) - change).abs() / change.abs().clamp_min(1e-3)


@quality_metrics.register("non_sensitivity")
@dataclass(frozen=True, kw_only=True)
class NonSensitivity:
    """Share of parts for which attribution and model disagree on whether the part matters at all.

    Nguyen and Martinez, *On quantitative aspects of model interpretability* (2020). A part matters to the model if
    the logit changes by more than ``tolerance`` of its largest change when the part, alone, takes its baseline or a
    random value; it matters to the method if its magnitude is above ``tolerance`` of the largest. At most ``parts`` are
    looked at, drawn at random.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    tolerance: float = 1e-3
    parts: int = 128

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < 1:
            raise InputError(f"expected `tolerance` in [0, 1), got {self.tolerance}")
        if self.parts < 1:
            raise InputError(f"expected `parts` >= 1, got {self.parts}")

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        d = case.parts.shape[1]
        count = min(self.parts, d)
        draw = case.rng("parts").uniform((d,)).masked_fill(~case.present, torch.inf)
        chosen = draw.argsort(dim=1)[:, :count]
        counted = case.present.gather(1, chosen)
        random = case.x
        if case.bounds is not None:
            low, high = case.bounds.tensors(case.x)
            random = low + (high - low) * case.rng("values").uniform(tuple(case.x.shape[1:])).to(case.x.dtype)

        def build(rows: Tensor, step: Tensor) -> Tensor:
            gone = torch.zeros(len(rows), d, dtype=torch.bool, device=rows.device)
            gone.scatter_(1, chosen[rows, step % count, None], True)
            fill = torch.where(_like(step < count, case.x), case.baseline[rows], random[rows])
            return case.removed(rows, gone, fill)

        now = case.sweep(1, lambda rows, step: case.x[rows])
        effect = (case.sweep(2 * count, build) - now).abs().view(len(case.x), 2, count).amax(dim=1)
        values = case.parts.gather(1, chosen).abs()
        most = (case.parts.abs() * case.present).amax(dim=1, keepdim=True)
        # Below the noise of float32 logits nothing can be said to matter.
        floor = 1e-6 * now.abs().clamp_min(1.0)
        matters = effect > (self.tolerance * (effect * counted).amax(dim=1, keepdim=True)).maximum(floor)
        named = values > self.tolerance * most
        return ((matters != named) & counted).sum(dim=1) / counted.sum(dim=1).clamp_min(1).double()


@quality_metrics.register("input_invariance")
@dataclass(frozen=True, kw_only=True)
class InputInvariance:
    """How much attributions change when inputs are shifted and the model shifts them back, relative to their norm.

    Kindermans et al., *The (un)reliability of saliency methods* (2019): the two models do the same on all inputs, so
    nothing should change. ``shift`` is a share of the range of each feature.
    """

    name: ClassVar[str]
    higher_is_better: ClassVar[bool] = False

    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.shift == 0:
            raise InputError("expected `shift` other than 0, got 0")

    def __call__(self, case: Case) -> Tensor:
        """See `QualityMetric`."""
        case.need(self, "explain_shifted", "inputs that can be shifted, not words")
        assert case.explain_shifted is not None
        before, after = (values.double().flatten(1) for values in case.explain_shifted(self.shift))
        return (after - before).norm(dim=1) / before.norm(dim=1).clamp_min(1e-30)


def _like(chosen: Tensor, x: Tensor) -> Tensor:
    """(m,) bool, shaped to choose among inputs."""
    return chosen.view(-1, *[1] * (x.ndim - 1))
