"""Certificates by randomised smoothing: of the majority answer under normal noise, not of the model itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.rng import SampleRng
from xaibench.types import Classifier

__all__ = ["SmoothedPrediction", "Smoothing", "lower_confidence_bound"]


@dataclass(frozen=True, kw_only=True)
class SmoothedPrediction:
    """What a smoothed classifier answers, and how far no l2 perturbation changes that."""

    prediction: Tensor
    """(n,) class indices, int64; -1 where the classifier abstains."""
    radius: Tensor
    """(n,) l2 radii in input units, float64; 0 where the classifier abstains."""
    p_lower: Tensor
    """(n,) lower confidence bounds on the probability of the answer under noise, float64."""

    def certified(self, y: Tensor, radius: float) -> Tensor:
        """Whether the answer is ``y`` (n,) everywhere within ``radius``, bool (n,): its mean is certified accuracy.

        Raises `InputError` for a negative radius.
        """
        if not radius >= 0:
            raise InputError(f"expected a radius >= 0, got {radius}")
        return (self.prediction == y.to(self.prediction.device)) & (self.radius >= radius)


@dataclass(frozen=True, kw_only=True)
class Smoothing:
    """The class that a model names most often when normal noise is added to the input.

    Cohen, Rosenfeld and Kolter, *Certified adversarial robustness via randomized smoothing* (ICML 2019). ``n0`` noisy
    copies choose a class, ``n`` others bound its probability from below; if that bound exceeds 1/2 the answer is
    certified to the radius sigma * Phi^-1(p_lower). Each certificate by itself is wrong with probability ``alpha`` at
    most. The noise, of standard deviation ``sigma`` in input units, is not clipped to the box. ``batch_size`` bounds
    the memory and nothing else.
    """

    sigma: float
    n0: int = 100
    n: int = 10_000
    alpha: float = 0.001
    batch_size: int = 1024

    def __post_init__(self) -> None:
        if not 0 < self.sigma < float("inf"):
            raise InputError(f"expected `sigma` > 0, got {self.sigma}")
        if not 0 < self.alpha < 1:
            raise InputError(f"expected `alpha` between 0 and 1, got {self.alpha}")
        for field in ("n0", "n", "batch_size"):
            if getattr(self, field) < 1:
                raise InputError(f"expected `{field}` >= 1, got {getattr(self, field)}")

    def __call__(self, model: Classifier, x: Tensor, *, ids: Tensor | None = None, seed: int = 0) -> SmoothedPrediction:
        """Answers and radii for inputs ``x`` (n, ...) in input units.

        ``ids`` (n,), int64, name the samples for the noise; 0..n-1 if not given. Raises `UnsupportedError` for text,
        which no noise can be added to.
        """
        if model.task == "text":
            raise UnsupportedError("smoothing adds noise to inputs: got a model of text")
        x = x.detach().to(model.device)
        ids = (torch.arange(len(x)) if ids is None else ids).to(x.device)
        if ids.shape != (len(x),) or ids.is_floating_point():
            raise InputError(f"expected {len(x)} sample ids, whole numbers, got {ids.dtype} {tuple(ids.shape)}")
        guess = self._counts(model, x, SampleRng(ids, seed=seed, stream="smoothing/guess"), self.n0).argmax(dim=1)
        counts = self._counts(model, x, SampleRng(ids, seed=seed, stream="smoothing"), self.n)
        hits = counts.gather(1, guess[:, None])[:, 0]
        p_lower = lower_confidence_bound(hits, self.n, self.alpha)
        sure = p_lower > 0.5
        quantile = torch.special.ndtri(torch.where(sure, p_lower, 0.5))
        return SmoothedPrediction(
            prediction=torch.where(sure, guess, -1), radius=self.sigma * quantile, p_lower=p_lower
        )

    def _counts(self, model: Classifier, x: Tensor, rng: SampleRng, draws: int) -> Tensor:
        """How often each class (n, classes) is answered under so many draws of noise."""
        counts = torch.zeros(len(x), model.num_classes, dtype=torch.int64, device=x.device)
        for row in range(len(x)):
            # Each draw has an id of its own, made of the sample's, so that draws do not depend on the batch.
            own = SampleRng(rng.ids[row : row + 1], seed=rng.seed, stream=rng.stream).bits((draws,))[0]
            for some in own.split(self.batch_size):
                noise = SampleRng(some, seed=rng.seed, stream=f"{rng.stream}/noise").normal(tuple(x.shape[1:]))
                answers = model.predict(x[row] + self.sigma * noise.to(x))
                counts[row] += F.one_hot(answers, model.num_classes).sum(dim=0)
        return counts


def lower_confidence_bound(hits: Tensor, n: int, alpha: float) -> Tensor:
    """The Clopper-Pearson bound that p stays above with probability 1 - alpha, given ``hits`` (m,) in ``n`` trials.

    Clopper and Pearson, *The use of confidence or fiducial limits illustrated in the case of the binomial*
    (Biometrika 1934). float64.

    >>> lower_confidence_bound(torch.tensor([0, 100]), 100, 0.001)
    tensor([0.0000, 0.9333], dtype=torch.float64)
    """
    from scipy.stats import beta

    k = hits.cpu().numpy()
    bound = beta.ppf(alpha, k.clip(1), n - k.clip(1) + 1)
    return torch.where(hits > 0, torch.as_tensor(bound, dtype=torch.float64, device=hits.device), 0.0)
