"""Attacks of Foolbox 3.3.4 with a step put right that keeps them from doing what their papers say.

Most let the samples of a batch depend on each other; the classes named ``Each...`` no longer do. Like
`xaibench.attacks.foolbox.bridge`, which imports it, this module imports Foolbox.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any

import eagerpy as ep
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Foolbox imports scipy by names that are gone soon
    import foolbox.attacks as fa
    from foolbox.attacks.fast_minimum_norm import project_onto_l1_ball
    from foolbox.devutils import atleast_kd, flatten

__all__ = [
    "L0FMN",
    "L1FMN",
    "L2FMN",
    "BlendedStart",
    "EachHopSkipJump",
    "EachL0BrendelBethge",
    "EachL1BrendelBethge",
    "EachL2BrendelBethge",
    "EachL2HopSkipJump",
    "EachLinfBrendelBethge",
    "EachLinfHopSkipJump",
    "EachSparseL1Descent",
    "L0Pointwise",
    "LinfFMN",
    "LinfUniformNoise",
    "LpPointwise",
    "PatientVirtualAdversarial",
    "SaltAndPepperStart",
    "SeededGenAttack",
    "SeededPointwise",
]

_FLOAT32_DIGITS = 24
_ACROSS = 1.001


class L0FMN(fa.L0FMNAttack):
    """Keeps the given number of features; Foolbox keeps one more, and fails where all may change."""

    def project(self, x: ep.Tensor, x0: ep.Tensor, epsilon: ep.Tensor) -> ep.Tensor:
        delta = flatten(x - x0)
        rank = (-abs(delta)).argsort(axis=1).argsort(axis=1)
        kept = ep.where(rank < atleast_kd(epsilon, 2), delta, ep.zeros_like(delta))
        return x0 + kept.reshape(x0.shape)


class L1FMN(fa.L1FMNAttack):
    """Steps across the boundary that it expects; Foolbox steps onto it, and may never get to the other side."""

    def project(self, x: ep.Tensor, x0: ep.Tensor, epsilon: ep.Tensor) -> ep.Tensor:
        return super().project(x, x0, epsilon * _ACROSS)


class L2FMN(fa.L2FMNAttack):
    """Projects onto the ball, where Foolbox leaves the point where it is; and steps across like `L1FMN`."""

    def project(self, x: ep.Tensor, x0: ep.Tensor, epsilon: ep.Tensor) -> ep.Tensor:
        norms = ep.maximum(flatten(x - x0).norms.l2(axis=-1), 1e-12)
        return x0 + (x - x0) * atleast_kd(ep.minimum(1, _ACROSS * epsilon / norms), x.ndim)


class LinfFMN(fa.LInfFMNAttack):
    """Steps across like `L1FMN`."""

    def project(self, x: ep.Tensor, x0: ep.Tensor, epsilon: ep.Tensor) -> ep.Tensor:
        return super().project(x, x0, epsilon * _ACROSS)


class LinfUniformNoise(fa.LinfRepeatedAdditiveUniformNoiseAttack):
    """Scales noise by its largest magnitude; Foolbox does so by its largest value, and leaves the ball."""

    def get_epsilons(self, x: ep.Tensor, p: ep.Tensor, epsilon: float, min_: float, max_: float) -> ep.Tensor:
        return epsilon / atleast_kd(flatten(abs(p)).max(axis=-1), p.ndim)


class EachSparseL1Descent(fa.SparseL1DescentAttack):
    """Leaves points inside the ball alone; Foolbox blows them up as soon as another of the batch is outside."""

    def project(self, x: ep.Tensor, x0: ep.Tensor, epsilon: float) -> ep.Tensor:
        return x0 + project_onto_l1_ball(x - x0, ep.full(x, (len(x),), epsilon))


class EachHopSkipJump(fa.HopSkipJumpAttack):
    """Goes by each sample alone: Foolbox scales probes and gradients by the norm of the whole batch.

    It also bisects until every sample is there; here the number of halvings is that which its precision asks for.
    """

    def approximate_gradients(self, is_adversarial: Any, x_advs: ep.Tensor, steps: int, delta: ep.Tensor) -> ep.Tensor:
        shape = (steps, *x_advs.shape)
        draw = x_advs.normal(shape) if self.constraint == "l2" else x_advs.uniform(shape, -1, 1)
        radius = atleast_kd(delta, x_advs.ndim)
        length = ep.maximum(flatten(draw, keep=2).norms.l2(axis=-1), 1e-12)
        probes = ep.clip(x_advs + radius * draw / atleast_kd(length, draw.ndim), 0, 1)
        signs = ep.stack([ep.where(is_adversarial(probe), 1.0, -1.0) for probe in probes])
        mean = signs.mean(axis=0)
        # The mean is a baseline that lowers the variance; with one side alone there is none to lower.
        weights = ep.where(abs(mean) == 1, signs, signs - mean)
        gradient = (atleast_kd(weights, draw.ndim) * (probes - x_advs)).mean(axis=0)
        return gradient / atleast_kd(ep.maximum(flatten(gradient).norms.l2(axis=-1), 1e-12), gradient.ndim)

    def _binary_search(self, is_adversarial: Any, originals: ep.Tensor, perturbed: ep.Tensor) -> ep.Tensor:
        features = math.prod(perturbed.shape[1:])
        precision = self.gamma / features ** (2 if self.constraint == "linf" else 1.5)
        high = ep.ones(perturbed, len(perturbed))
        if self.constraint == "linf":
            high = flatten(abs(perturbed - originals)).max(axis=-1)
        low = ep.zeros_like(high)
        for _ in range(min(math.ceil(-math.log2(precision)), _FLOAT32_DIGITS)):
            middle = (low + high) / 2
            fooled = is_adversarial(self._project(originals, perturbed, middle))
            low, high = ep.where(fooled, low, middle), ep.where(fooled, middle, high)
        return self._project(originals, perturbed, high)


EachL2HopSkipJump = partial(EachHopSkipJump, constraint="l2")
EachLinfHopSkipJump = partial(EachHopSkipJump, constraint="linf")


class _EachRegion:
    """Sizes the trust region by the features of a sample; Foolbox counts those of the whole batch."""

    lr: float

    def run(self, model: Any, inputs: Any, criterion: Any, **kwargs: Any) -> Any:
        self.lr /= len(inputs)
        return super().run(model, inputs, criterion, **kwargs)  # type: ignore[misc]


class EachL0BrendelBethge(_EachRegion, fa.L0BrendelBethgeAttack):
    """In L0."""


class EachL1BrendelBethge(_EachRegion, fa.L1BrendelBethgeAttack):
    """In L1."""


class EachL2BrendelBethge(_EachRegion, fa.L2BrendelBethgeAttack):
    """In L2."""


class EachLinfBrendelBethge(_EachRegion, fa.LinfinityBrendelBethgeAttack):
    """In Linf."""


class PatientVirtualAdversarial(fa.VirtualAdversarialAttack):
    """Finds nothing where the divergence has no gradient; Foolbox raises."""

    def run(self, model: Any, inputs: Any, criterion: Any, *, epsilon: float, **kwargs: Any) -> Any:
        try:
            return super().run(model, inputs, criterion, epsilon=epsilon, **kwargs)
        except RuntimeError as error:
            if "Gradient vanished" not in str(error):
                raise
            return inputs


class SeededGenAttack(fa.GenAttack):
    """Draws parents from the tensor's own random numbers; Foolbox does from numpy's global ones."""

    def choice(self, a: int, size: int, replace: bool, p: ep.Tensor) -> Any:
        ends = p.raw.cumsum(dim=0)
        return (p.uniform((size,)).raw[:, None] >= ends / ends[-1]).sum(dim=1).clamp_max(a - 1).cpu().numpy()


class SeededPointwise(fa.PointwiseAttack):
    """Leaves numpy's global random numbers, which it draws from, as it found them."""

    def run(self, model: Any, inputs: Any, criterion: Any, *, starting_points: Any, **kwargs: Any) -> Any:
        state = np.random.get_state()
        np.random.seed(int(starting_points.uniform((1,)).item() * 2**24))
        try:
            return super().run(model, inputs, criterion, starting_points=starting_points, **kwargs)
        finally:
            np.random.set_state(state)


# Where others start from need not be near: what Foolbox takes for its own starts, and as few steps of the other kind.
BlendedStart = partial(fa.LinearSearchBlendedUniformNoiseAttack, steps=50)
SaltAndPepperStart = partial(fa.SaltAndPepperNoiseAttack, steps=50)

L0Pointwise = partial(SeededPointwise, l2_binary_search=False)
LpPointwise = partial(SeededPointwise, l2_binary_search=True)
