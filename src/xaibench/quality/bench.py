"""A model and samples on which methods are measured, alike for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import Attribution, Explainer
from xaibench.explainers.base import Targets
from xaibench.explainers.baselines import baseline_inputs
from xaibench.explainers.budget import points_at_once
from xaibench.explainers.examine import random_copy
from xaibench.explainers.reading import read_targets
from xaibench.metrics.case import Case
from xaibench.quality.shifted import Shifted
from xaibench.types import Capability, Classifier, Inputs, model_inputs

__all__ = ["Bench"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """What `Case`s of all methods share.

    ``targets`` are the predicted classes unless given. ``masks`` and ``spurious_masks`` (n, height, width), bool, say
    where known evidence and spurious cues lie. Removed parts take the values of the mean input (padding for text),
    which no method has as its own default baseline for images, so that none is favoured.
    """

    model: Classifier
    inputs: Inputs
    targets: Targets = None
    masks: Tensor | None = None
    spurious_masks: Tensor | None = None
    seed: int = 0
    x: Tensor = field(init=False)
    target: Tensor = field(init=False)

    def __post_init__(self) -> None:
        model = self.model
        text = model.task == "text"
        x = model_inputs(model, self.inputs).to(model.device) if text else model.embed(self.inputs).detach()  # type: ignore[arg-type]
        object.__setattr__(self, "x", x)
        given = None if self.targets is None else read_targets(self.targets, len(x), model.num_classes).to(x.device)
        target = self.logits(x).argmax(dim=1) if given is None else given
        object.__setattr__(self, "target", target)
        for name in ("masks", "spurious_masks"):
            mask: Tensor | None = getattr(self, name)
            if mask is not None and (x.ndim != 4 or mask.shape != (len(x), *x.shape[2:])):
                wanted = (len(x), *x.shape[2:]) if x.ndim == 4 else "those of images alone"
                raise InputError(f"expected `{name}` as {wanted}, got {tuple(mask.shape)}")

    def case(self, explainer: Explainer, found: Attribution) -> Case:
        """The case of attributions that ``explainer`` made of this bench's inputs and targets."""
        return Case(
            x=self.x,
            values=found.values,
            target=self.target,
            baseline=self._baseline,
            logits=self.logits,
            at_once=self._at_once,
            bounds=None if self.model.task == "text" else self.model.bounds,
            where=self._where,
            reference=found.baseline,
            gap=found.trust.completeness_gap,
            masks=self._flat(self.masks),
            spurious_masks=self._flat(self.spurious_masks),
            explain=lambda x, target: explainer(self.model, x, target, seed=self.seed).values,
            explain_randomised=self._randomised(explainer),
            explain_shifted=self._shifted(explainer),
            layers=self._innermost,
            seed=self.seed,
        )

    def explain(self, explainer: Explainer) -> Attribution:
        """Attributions of the inputs for the targets, with the checks that cost nothing."""
        return explainer(self.model, self.x, self.target, seed=self.seed)

    def logits(self, inputs: Tensor) -> Tensor:
        """Logits (m, classes) of any number of inputs, in passes that fit the memory."""
        with torch.no_grad():
            return torch.cat([self._score(part) for part in inputs.split(self._at_once)])

    @cached_property
    def _score(self) -> Callable[[Tensor], Tensor]:
        return self.model.scorer(self.x)

    @cached_property
    def _at_once(self) -> int:
        return points_at_once(self.model, self.x, backward=False)

    @cached_property
    def _baseline(self) -> Tensor:
        return baseline_inputs("auto" if self.model.task == "text" else "mean", self.model, self.x)

    @cached_property
    def _where(self) -> Tensor | None:
        if self.model.task != "text":
            return None
        try:
            words = self.model.tokens(self.x)
        except UnsupportedError:
            return None
        return torch.tensor([[word != "" for word in row] for row in words], device=self.x.device)

    @cached_property
    def _innermost(self) -> tuple[str, ...]:
        names = self.model.layers
        outer = {name[:cut] for name in names for cut, sign in enumerate(name) if sign in "./"}
        return tuple(name for name in names if name not in outer)

    def _flat(self, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else mask.flatten(1).to(self.x.device)

    def _randomised(self, explainer: Explainer) -> Callable[[Sequence[str] | None], Tensor] | None:
        if Capability.WEIGHTS not in self.model.capabilities:
            return None

        def explain(layers: Sequence[str] | None) -> Tensor:
            whole = layers is None
            model = random_copy(self.model, self.seed) if whole else self.model.randomised(self.seed, layers)
            return explainer(model, self.x, self.target, seed=self.seed).values

        return explain

    def _shifted(self, explainer: Explainer) -> Callable[[float], tuple[Tensor, Tensor]] | None:
        if self.model.task == "text":
            return None
        low, high = self.model.bounds.tensors(self.x)

        def explain(shift: float) -> tuple[Tensor, Tensor]:
            found = []
            for share in (0.0, shift):
                offset = share * (high - low)
                model = cast(Classifier, Shifted(self.model, offset))
                found.append(explainer(model, self.x + offset, self.target, seed=self.seed).values)
            return found[0], found[1]

        return explain
