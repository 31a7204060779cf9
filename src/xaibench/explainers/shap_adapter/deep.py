"""SHAP's explainers of networks: DeepLIFT and expected gradients against background samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError, last_line
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Background, background_inputs
from xaibench.explainers.shap_adapter.guard import guarded
from xaibench.explainers.shap_adapter.network import PrivateCopy, private_copy
from xaibench.explainers.target import TargetLogit
from xaibench.rng import content_ids, derive_seed
from xaibench.types import Classifier, Inputs

__all__ = ["ShapDeep", "ShapGradient"]

_TOLERANCE = 0.05
"""Of sampled values: more than rounding, less than a miss that comes from elsewhere than too few draws."""


@explainers.register("shap_deep")
@dataclass(frozen=True, kw_only=True)
class ShapDeep:
    """DeepLIFT averaged over background samples, by SHAP: see Lundberg & Lee (NeurIPS 2017).

    Values should add up to the change of the logit from its mean over the background. SHAP's rules hold for chains of
    layers with common activations, each used once; elsewhere its values are wrong, and the completeness gap shows by
    how much. What it does not cover is named, activations that are functions and no layers among it. `deep_lift`
    covers more. SHAP works on a copy of the model. Images and tables only.
    """

    name: ClassVar[str]

    background: Background = "auto"
    samples: int = 16

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"expected `samples` >= 1, got {self.samples}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`; raises `UnsupportedError` where SHAP cannot run."""
        logit = TargetLogit(self, model, inputs, targets)
        background, note = background_inputs(self.background, model, logit.x, count=self.samples, seed=seed)
        twin = private_copy(self.name, model, logit.x)
        values = torch.zeros(logit.x.shape, dtype=torch.float64)

        for rows, target in _by_target(logit.target):
            found = _run(self.name, seed, partial(_lifted, twin, background, logit.x[rows], target))
            values[rows] = _in_shape(twin.outward(found), logit.x[rows])
        passes = len(logit.x) * len(background)
        logit.count(forward=2 * passes, backward=2 * passes)
        change = logit.value(logit.x) - _mean_logits(logit, background)
        return logit.attribution(values, seed=seed, change=change, uncovered=twin.uncovered(), notes=(note,))


@explainers.register("shap_gradient")
@dataclass(frozen=True, kw_only=True)
class ShapGradient:
    """Expected gradients by SHAP: gradients at random points between the input and random background samples.

    Erion et al., *Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients* (Nature Machine Intelligence 2021). Values add up to the change of the logit from its mean over the
    background in the limit of many ``samples``. SHAP works on a copy of the model. Images and tables only.
    """

    name: ClassVar[str]

    background: Background = "auto"
    background_samples: int = 32
    samples: int = 200

    def __post_init__(self) -> None:
        if self.samples < 2 or self.background_samples < 1:
            raise InputError(
                "expected `samples` >= 2 and `background_samples` >= 1, "
                f"got {self.samples} and {self.background_samples}"
            )

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`; raises `UnsupportedError` where SHAP cannot run."""
        logit = TargetLogit(self, model, inputs, targets)
        background, note = background_inputs(self.background, model, logit.x, count=self.background_samples, seed=seed)
        twin = private_copy(self.name, model, logit.x)
        values, stderr = (torch.zeros(logit.x.shape, dtype=torch.float64) for _ in range(2))
        for rows, target in _by_target(logit.target):
            draw = partial(self._draw, twin, background, logit.x[rows], target, seed)
            mean, variance = (_in_shape(twin.outward(part), logit.x[rows]) for part in _run(self.name, 0, draw))
            values[rows] = mean
            # SHAP gives the variance of a draw over the root of their number.
            stderr[rows] = (variance.abs() / self.samples**0.5).sqrt()
        logit.count(forward=len(logit.x) * self.samples, backward=len(logit.x) * self.samples)
        change = logit.value(logit.x) - _mean_logits(logit, background)
        return logit.attribution(values, seed=seed, stderr=stderr, change=change, tolerance=_TOLERANCE, notes=(note,))

    def _draw(self, twin: PrivateCopy, background: Tensor, x: Tensor, target: int, seed: int, shap: Any) -> Any:  # noqa: PLR0917
        explainer = shap.GradientExplainer(twin.network(target), twin.inward(background))
        found = []
        for key, native in zip(content_ids(x).tolist(), twin.inward(x), strict=True):
            # One sample at a time, with a seed of its own: SHAP draws for a batch in its order.
            own = derive_seed(self.name, seed, key) % 2**32
            values, variances = explainer.shap_values(
                native[None], nsamples=self.samples, rseed=own, return_variances=True
            )
            found.append((np.asarray(values), np.stack(variances, axis=-1)))
        return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _lifted(twin: PrivateCopy, background: Tensor, x: Tensor, target: int, shap: Any) -> np.ndarray:
    explainer = shap.DeepExplainer(twin.network(target), twin.inward(background))
    return np.asarray(explainer.shap_values(twin.inward(x), check_additivity=False))


def _by_target(target: Tensor) -> Iterator[tuple[Tensor, int]]:
    """The samples (m,) of each class that is explained, and the class."""
    for chosen in target.unique().tolist():
        yield (target == chosen).nonzero().squeeze(1), chosen


def _run(method: str, seed: int, call: Callable[[Any], Any]) -> Any:
    """What ``call`` makes of the module `shap`; what SHAP raises becomes one line."""
    try:
        with guarded(seed) as shap, torch.enable_grad():
            return call(shap)
    except Exception as error:  # whatever the model brings about inside SHAP
        raise UnsupportedError(f"{method}: SHAP cannot explain this model: {last_line(error)}") from error


def _in_shape(values: Tensor, x: Tensor) -> Tensor:
    """SHAP's values for one class, with or without a last axis of one, in the shape of the inputs."""
    return values.detach().double().reshape(x.shape)


def _mean_logits(logit: TargetLogit, background: Tensor) -> Tensor:
    """(n,), float64: each sample's target logit, averaged over the background."""
    logit.count(forward=len(background))
    with torch.no_grad():
        logits = [logit.model.logits(background[part]) for part in logit.split(len(background), backward=False)]
    return torch.cat(logits).double().mean(dim=0)[logit.target]
