"""Explainers that average gradients over random points: around the input, or on the way from other inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.baselines import Background, background_inputs
from xaibench.explainers.budget import points_at_once, samples_at_once
from xaibench.explainers.target import TargetLogit
from xaibench.rng import SampleRng
from xaibench.types import Classifier, Inputs

__all__ = ["ExpectedGradients", "SmoothGrad", "VarGrad"]

_TOLERANCE = 0.05
"""The completeness gap that expected gradients, which sample, should stay within."""
_BYTES = 16
"""Of working arrays for each element of a gradient that is kept, at their peak."""
_DRAW_BYTES = 64
"""Of working arrays for each element of a point that is drawn, at their peak."""


@explainers.register("smoothgrad")
@dataclass(frozen=True, kw_only=True)
class SmoothGrad:
    """The mean gradient over normal noise around the input, or with ``squared`` the mean of its square.

    Smilkov et al., *SmoothGrad: removing noise by adding noise* (2017); squares: Hooker et al., *A benchmark for
    interpretability methods in deep neural networks* (NeurIPS 2019). ``noise`` is its standard deviation as a share of
    the range of inputs, for text of that of the sample's embeddings; noisy points may leave the box of inputs. Points
    come in pairs on either side of the input, ``samples`` in all, which the standard errors take into account.
    """

    name: ClassVar[str]

    samples: int = 64
    noise: float = 0.1
    squared: bool = False

    def __post_init__(self) -> None:
        _check(self.samples, self.noise)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        pairs = self.samples // 2

        def in_group(rows: Tensor) -> tuple[Tensor, ...]:
            part = logit.part(rows)
            cloud = _Cloud(part, self.noise, seed)

            def gradient(rows: Tensor, draw: Tensor) -> Tensor:
                found = part.gradient(rows, cloud.points(rows, draw % pairs, sign=1 - 2 * (draw // pairs)))
                return found.square() if self.squared else found

            return _mean_of_pairs(_at_points(part, self.samples, gradient))

        values, stderr = _in_groups(logit, self.samples, in_group)
        return logit.attribution(values, seed=seed, stderr=stderr)


@explainers.register("vargrad")
@dataclass(frozen=True, kw_only=True)
class VarGrad:
    """The variance of the gradient over normal noise around the input.

    Adebayo et al., *Local explanation methods for deep neural networks lack sensitivity to parameter values* (2018).
    ``noise`` is as in `SmoothGrad`. For text the variances of an embedding's elements are added up.
    """

    name: ClassVar[str]

    samples: int = 64
    noise: float = 0.1

    def __post_init__(self) -> None:
        _check(self.samples, self.noise)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)

        def in_group(rows: Tensor) -> tuple[Tensor, ...]:
            part = logit.part(rows)
            cloud = _Cloud(part, self.noise, seed)

            def gradient(rows: Tensor, draw: Tensor) -> Tensor:
                return part.gradient(rows, cloud.points(rows, draw))

            gradients = _at_points(part, self.samples, gradient, by_token=False)
            spread = (gradients - gradients.mean(dim=1, keepdim=True)).square()
            spread = _by_token(logit, spread) * (self.samples / (self.samples - 1))
            return spread.mean(dim=1), spread.std(dim=1) / self.samples**0.5

        values, stderr = _in_groups(logit, self.samples, in_group)
        return logit.attribution(values, seed=seed, stderr=stderr)


@explainers.register("expected_gradients")
@dataclass(frozen=True, kw_only=True)
class ExpectedGradients:
    """Integrated gradients in expectation over baselines that are other inputs, one random point on each line.

    Erion et al., *Improving performance of deep learning models with axiomatic attribution priors and expected
    gradients* (Nature Machine Intelligence 2021). Points come in pairs, at a share of the line and at one minus it;
    ``samples`` points in all, half as many baselines. Each input goes through the background in a random order of its
    own, again and again, so that all of it counts alike in expectation, and is left out or taken once more by chance
    alone. Attributions add up, in expectation, to the logit minus its mean over the whole background; the gap, which is
    reported, is what sampling missed: four times the ``samples`` halve it. Standard errors treat the background itself
    as a sample.
    """

    name: ClassVar[str]

    background: Background = "auto"
    samples: int = 128

    def __post_init__(self) -> None:
        _check(self.samples)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        pairs = self.samples // 2
        count = len(self.background) if isinstance(self.background, Tensor) and self.background.ndim else pairs
        background, note = background_inputs(self.background, model, logit.x, count=count, seed=seed)
        start = logit.embed(background)

        def in_group(rows: Tensor) -> tuple[Tensor, ...]:
            part = logit.part(rows)
            end, which = part.embed(part.x), _in_rounds(part, pairs, len(start), seed)
            share = _stratified(part, pairs, seed).to(end.dtype)
            share = torch.cat([share, 1 - share], dim=1)

            def flow(rows: Tensor, draw: Tensor) -> Tensor:
                first, last = start[which[rows, draw % pairs]], end[rows]
                at = share[rows, draw].view(-1, *[1] * (end.ndim - 1))
                return part.gradient(rows, torch.lerp(first, last, at)) * (last - first)

            return _mean_of_pairs(_at_points(part, self.samples, flow))

        values, stderr = _in_groups(logit, self.samples, in_group)
        return logit.attribution(
            values,
            seed=seed,
            stderr=stderr,
            change=logit.value(logit.embed(logit.x)) - _mean_value(logit, start),
            tolerance=_TOLERANCE,
            notes=(note,),
        )


def _check(samples: int, noise: float = 1.0) -> None:
    if samples < 4 or samples % 2:
        raise InputError(f"expected `samples` as an even number of at least 4, got {samples}")
    if not 0 < noise < float("inf"):
        raise InputError(f"expected `noise` > 0, got {noise}")


class _Cloud:
    """Normal noise around the points of a logit's inputs."""

    def __init__(self, logit: TargetLogit, noise: float, seed: int) -> None:
        self._centre = centre = logit.embed(logit.x)
        self._rng = logit.rng(seed, "noise")
        if logit.text:
            low, high = centre.flatten(1).aminmax(dim=1)
            span = (high - low).view(-1, 1, 1)
        else:
            low, high = logit.model.bounds.tensors(centre)
            span = high - low
            if not bool(span.isfinite().all()):
                raise UnsupportedError("noise as a share of the range of inputs needs finite bounds")
        self._scale = (noise * span).expand_as(centre)

    def points(self, rows: Tensor, draw: Tensor, sign: Tensor | None = None) -> Tensor:
        """Draws (m,) around samples ``rows`` (m,), or with a ``sign`` of -1 on the other side."""
        rng = SampleRng(self._rng.ids[rows], self._rng.seed, self._rng.stream)
        noise = rng.normal(tuple(self._centre.shape[1:]), draw).to(self._centre.dtype)
        if sign is not None:
            noise = noise * sign.view(-1, *[1] * (noise.ndim - 1))
        return self._centre[rows] + self._scale[rows] * noise


def _in_groups(logit: TargetLogit, samples: int, work: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """See `TargetLogit.in_groups`, for ``samples`` gradients of each input that are kept."""
    each = _BYTES * samples * logit.embed(logit.x[:1]).numel()
    most = points_at_once(logit.model, logit.x, backward=True) // samples
    return logit.in_groups(each, work, most=max(1, most))


def _at_points(
    logit: TargetLogit, samples: int, find: Callable[[Tensor, Tensor], Tensor], *, by_token: bool = True
) -> Tensor:
    """(n, samples, ...): what ``find(rows, draws)`` gives for all draws of all samples; see `_by_token`."""
    found: list[Tensor] = []
    size = points_at_once(logit.model, logit.x, backward=True)
    size = min(size, samples_at_once(_DRAW_BYTES * logit.embed(logit.x[:1]).numel()))
    for part in torch.arange(len(logit.x) * samples, device=logit.x.device).split(size):
        values = find(part // samples, part % samples)
        found.append(_by_token(logit, values) if by_token else values)
    return torch.cat(found).unflatten(0, (len(logit.x), samples))


def _by_token(logit: TargetLogit, draws: Tensor) -> Tensor:
    """Draws (..., length, dimension) with what embeddings get added up, so that errors are those of the sums."""
    return draws.sum(dim=-1) if logit.text else draws


def _mean_of_pairs(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (g, ...) and its standard error over draws (g, 2 k, ...), of which i and k + i belong together."""
    pairs = draws.unflatten(1, (2, -1)).mean(dim=1)
    return pairs.mean(dim=1), pairs.std(dim=1) / pairs.shape[1] ** 0.5


def _stratified(logit: TargetLogit, count: int, seed: int) -> Tensor:
    """(n, count) uniform in [0, 1), one in each of ``count`` equal parts, in random order."""
    order = logit.rng(seed, "order").uniform((count,)).argsort(dim=1)
    return (order + logit.rng(seed, "place").uniform((count,))) / count


def _in_rounds(logit: TargetLogit, count: int, size: int, seed: int) -> Tensor:
    """(n, count) of 0..size-1 in a random order, again and again: each comes up as often as any other, or once more."""
    order = logit.rng(seed, "rounds").uniform((size,)).argsort(dim=1)
    return order[:, torch.arange(count, device=order.device) % size]


def _mean_value(logit: TargetLogit, start: Tensor) -> Tensor:
    """(n,), float64: the mean target logit over the starts (m, ...), for each sample."""
    count, n = len(start), len(logit.x)
    if not logit.text:
        total = torch.zeros(logit.model.num_classes, dtype=torch.float64, device=start.device)
        for part in logit.split(count, backward=False):
            with torch.no_grad():
                total += logit.model.logits(start[part]).double().sum(dim=0)
        logit.count(forward=count)
        return total[logit.target] / count
    # For text each sample has its own, for its tokens say what is padding.
    means = torch.zeros(n, dtype=torch.float64, device=start.device)
    for part in logit.split(n * count, backward=False):
        means.index_add_(0, part // count, logit.value(start[part % count], part // count))
    return means / count
