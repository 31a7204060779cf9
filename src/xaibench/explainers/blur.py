"""Gradients integrated along a path on which an image comes into focus."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Targets, explainers
from xaibench.explainers.path import check_steps, integrate
from xaibench.explainers.reading import check_pictures
from xaibench.explainers.target import TargetLogit
from xaibench.types import Classifier, Inputs

__all__ = ["BlurIntegratedGradients"]

_POWER = 3


@explainers.register("blur_integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class BlurIntegratedGradients:
    """Integrated gradients from a blurred image to the image, through all degrees of blur between.

    Xu et al., *Attribution in scale and space* (CVPR 2020). No pixels have to stand for absence, and no values come up
    that a blurred image has not. ``max_blur`` is the largest standard deviation of the Gaussian as a share of the
    image's longer side; with 1 little more than each channel's mean is left. The blur reflects at the edges. Steps are
    as in `IntegratedGradients`.
    """

    name: ClassVar[str]

    max_blur: float = 0.5
    steps: int = 32
    max_steps: int = 512
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        check_steps(self.steps, self.max_steps, self.tolerance)
        if not 0 < self.max_blur < math.inf:
            raise InputError(f"expected `max_blur` > 0, got {self.max_blur}")

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""
        logit = TargetLogit(self, model, inputs, targets)
        if model.task != "image":
            raise UnsupportedError(f"{self.name} needs images, got a model of task {model.task!r}")
        check_pictures(self.name, logit.x)
        focus = _Focus(logit.x, self.max_blur * max(logit.x.shape[2:]))
        rows = torch.arange(len(logit.x), device=logit.x.device)
        found = integrate(
            logit,
            focus,
            rows,
            quadrature="gauss_legendre",
            steps=self.steps,
            max_steps=self.max_steps,
            tolerance=self.tolerance,
        )
        return logit.attribution(
            found.values,
            seed=seed,
            baseline=focus.points(rows, torch.zeros(len(rows), dtype=torch.float64, device=rows.device)),
            change=found.change,
            tolerance=self.tolerance,
        )


class _Focus:
    """Images (n, channels, h, w) behind a Gaussian that narrows from ``sigma`` pixels to nothing.

    A Gaussian that reflects at the edges fades each cosine of the image by its frequency, so points and their
    derivatives are exact at any width. The width goes with the third power of what is left of the path, for most of
    what matters happens at little blur.
    """

    def __init__(self, x: Tensor, sigma: float) -> None:
        self._rows, self._columns = (_cosines(size, x) for size in x.shape[2:])
        down, across = (torch.arange(size, device=x.device, dtype=torch.float64) / size for size in x.shape[2:])
        self._decay = (math.pi**2 / 2) * (down.square()[:, None] + across.square())
        self._sigma = sigma
        # In float64, for what is nearly flat has ties, which rounding would break by the size of the batch.
        self._waves = self._rows @ x.double() @ self._columns.T
        self._dtype = x.dtype

    def points(self, which: Tensor, at: Tensor) -> Tensor:
        """See `Path`."""
        return self._image(self._waves[which] * self._fade(at))

    def velocity(self, which: Tensor, at: Tensor) -> Tensor:
        """See `Path`."""
        left = (1 - at).view(-1, 1, 1, 1)
        # The derivative of sigma squared by the place on the path.
        growth = -2 * _POWER * self._sigma**2 * left ** (2 * _POWER - 1)
        return self._image(self._waves[which] * self._fade(at) * (-self._decay * growth))

    def _fade(self, at: Tensor) -> Tensor:
        """(m, 1, h, w): what the blur leaves of each cosine."""
        square = self._sigma**2 * (1 - at).view(-1, 1, 1, 1) ** (2 * _POWER)
        return (-self._decay * square).exp()

    def _image(self, waves: Tensor) -> Tensor:
        return (self._rows.T @ waves @ self._columns).to(self._dtype)


def _cosines(size: int, x: Tensor) -> Tensor:
    """(size, size), float64: the orthonormal cosines of the discrete cosine transform (DCT-II), one in each row."""
    frequency = torch.arange(size, device=x.device, dtype=torch.float64)[:, None]
    place = torch.arange(size, device=x.device, dtype=torch.float64) + 0.5
    waves = (math.pi / size * frequency * place).cos() * (2 / size) ** 0.5
    waves[0] /= 2**0.5
    return waves
