"""Noise of the sensor: Gaussian, shot, impulse."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.corruptions.base import Corruption, corruptions
from xaibench.rng import SampleRng

__all__ = ["GaussianNoise", "ImpulseNoise", "ShotNoise"]


@corruptions.register("gaussian_noise")
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Corruption):
    """Normal noise, as in poor light; a level is its standard deviation."""

    levels = (0.04, 0.06, 0.08, 0.09, 0.10)

    def _change(self, x: Tensor, level: float, rng: SampleRng) -> Tensor:
        return x + level * rng.normal(tuple(x.shape[1:]))


@corruptions.register("shot_noise")
@dataclass(frozen=True, kw_only=True)
class ShotNoise(Corruption):
    """Poisson noise of counted light; a level is the number of photons that make full brightness."""

    levels = (500, 250, 100, 75, 50)

    def _change(self, x: Tensor, level: int, rng: SampleRng) -> Tensor:
        from scipy import stats

        chance = rng.uniform(tuple(x.shape[1:])).double()
        return torch.from_numpy(stats.poisson.ppf(chance.numpy(), x.double().numpy() * level)).clamp_min(0) / level


@corruptions.register("impulse_noise")
@dataclass(frozen=True, kw_only=True)
class ImpulseNoise(Corruption):
    """Salt and pepper, as from bit errors; a level is the share of values that are lost, half to 0 and half to 1."""

    levels = (0.01, 0.02, 0.03, 0.05, 0.07)

    def _change(self, x: Tensor, level: float, rng: SampleRng) -> Tensor:
        chance = rng.uniform(tuple(x.shape[1:]))
        return x.masked_fill(chance < level / 2, 0.0).masked_fill(chance >= 1 - level / 2, 1.0)
