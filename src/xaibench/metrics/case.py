"""What quality metrics measure: a case of attributions, and the registry that metrics join."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.registry import Registry
from xaibench.rng import SampleRng, content_ids
from xaibench.types import Bounds

__all__ = ["Case", "QualityMetric", "quality_metrics"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Attributions of n samples by one method, and what metrics may ask about them.

    A part of an input is what is removed at once: a pixel with all its channels, a feature, a word. There are d of
    them. What is None cannot be asked for, and metrics that need it refuse.
    """

    x: Tensor
    """Inputs (n, ...): images (n, channels, height, width), features (n, features) or token ids (n, length)."""
    values: Tensor
    """Attributions, shaped as the inputs."""
    target: Tensor
    """(n,) int64: the classes explained."""
    baseline: Tensor
    """Inputs (n, ...) that stand for the absence of evidence: removed parts take their values from there."""
    logits: Callable[[Tensor], Tensor]
    """Logits (m, classes) of inputs (m, ...)."""
    at_once: int = 256
    """How many inputs a metric makes at once."""
    bounds: Bounds | None = None
    """The box of valid inputs; None for token ids."""
    where: Tensor | None = None
    """(n, d) bool, where only some parts count: not the padding of texts."""
    reference: Tensor | None = None
    """The method's own baseline (n, ...), for completeness; None for methods without one."""
    gap: Tensor | None = None
    """(n,): the method's own completeness gap, where it promises completeness."""
    masks: Tensor | None = None
    """(n, d) bool: parts that hold the evidence, where that is known."""
    spurious_masks: Tensor | None = None
    """(n, d) bool: parts that hold a spurious cue; nowhere True for samples without one."""
    explain: Callable[[Tensor, Tensor], Tensor] | None = None
    """Attributions by the same method of other inputs (n, ...) for classes (n,)."""
    explain_randomised: Callable[[Sequence[str] | None], Tensor] | None = None
    """Attributions for a copy of the model with random weights in the named layers, or in all."""
    explain_shifted: Callable[[float], tuple[Tensor, Tensor]] | None = None
    """Attributions now, and of inputs shifted by a share of their range for a model that shifts them back."""
    layers: tuple[str, ...] = ()
    """The model's innermost layers, from the input to the output."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.x.shape == self.values.shape == self.baseline.shape or self.x.ndim < 2:
            shapes = ", ".join(str(tuple(part.shape)) for part in (self.x, self.values, self.baseline))
            raise InputError(f"expected inputs, values and baseline of one shape, got {shapes}")
        for name in ("where", "masks", "spurious_masks"):
            given: Tensor | None = getattr(self, name)
            if given is not None and (given.shape != self.parts.shape or given.dtype != torch.bool):
                raise InputError(
                    f"expected `{name}` as {tuple(self.parts.shape)} of bool, got {tuple(given.shape)} {given.dtype}"
                )

    @property
    def parts(self) -> Tensor:
        """Attributions by part (n, d), float64: those of a pixel's channels are added up."""
        values = self.values.double()
        return values.sum(dim=1).flatten(1) if values.ndim == 4 else values

    @property
    def present(self) -> Tensor:
        """(n, d) bool: the parts that count."""
        return torch.ones_like(self.parts, dtype=torch.bool) if self.where is None else self.where

    def rng(self, stream: str) -> SampleRng:
        """Random numbers of the samples, the same for every method."""
        return SampleRng(content_ids(self.x), self.seed, f"metric {stream}")

    def removed(self, rows: Tensor, gone: Tensor, fill: Tensor | None = None) -> Tensor:
        """Inputs (m, ...) of samples ``rows`` (m,) without the parts at ``gone`` (m, d), bool.

        ``fill`` (m, ...) takes their place, the baseline if that is not given.
        """
        x, other = self.x[rows], self.baseline[rows] if fill is None else fill
        shape = (len(x), 1, *x.shape[2:]) if x.ndim == 4 else x.shape
        taken = gone.view(shape).to(x.dtype)
        return x + (other - x) * taken

    def ranks(self) -> Tensor:
        """(n, d) int64: 0 for the part with the greatest value; ties fall by lot, parts that do not count come last."""
        values = self.parts.masked_fill(~self.present, -torch.inf)
        lot = self.rng("ties").uniform((values.shape[1],)).argsort(dim=1)
        order = lot.gather(1, values.gather(1, lot).argsort(dim=1, descending=True, stable=True))
        place = torch.arange(values.shape[1], device=values.device).expand_as(order)
        return torch.empty_like(order).scatter(1, order, place)

    def sweep(self, steps: int, build: Callable[[Tensor, Tensor], Tensor], *, probability: bool = False) -> Tensor:
        """Target logits (n, steps), float64, or probabilities, of the inputs that ``build(rows, step)`` makes.

        Both arguments are (m,) int64, and m is at most `at_once`.
        """
        found = []
        for part in torch.arange(len(self.x) * steps, device=self.x.device).split(self.at_once):
            rows = part // steps
            logits = self.logits(build(rows, part % steps)).double()
            scores = logits.softmax(dim=1) if probability else logits
            found.append(scores.gather(1, self.target[rows, None]).squeeze(1))
        return torch.cat(found).view(len(self.x), steps)

    def need(self, metric: QualityMetric, name: str, reason: str) -> None:
        """Raise `UnsupportedError` where a field that ``metric`` needs is None."""
        if getattr(self, name) is None:
            raise UnsupportedError(f"{metric.name} needs {reason}")


class QualityMetric(Protocol):
    """A measure of attributions: a frozen dataclass whose fields are its whole configuration."""

    name: ClassVar[str]
    higher_is_better: ClassVar[bool]

    def __call__(self, case: Case) -> Tensor:
        """(n,), float64, one number for each sample; NaN where it is not defined for one.

        Raises `UnsupportedError` for a case that lacks what is needed.
        """
        ...


quality_metrics: Registry[QualityMetric] = Registry("metric")
"""Quality metrics by name."""
