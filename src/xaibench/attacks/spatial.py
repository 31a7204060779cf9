"""The search through rotations and translations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.base import attack_correct, attacks, wrong_task
from xaibench.errors import InputError, UnsupportedError
from xaibench.rng import SampleRng
from xaibench.threats import Spatial, Threat
from xaibench.types import Classifier, Task

__all__ = ["SpatialSearch"]


@attacks.register("spatial")
@dataclass(frozen=True, kw_only=True)
class SpatialSearch:
    """Every motion that a `Spatial` threat allows, the smallest first; so it finds all that can be found.

    Engstrom et al., *Exploring the landscape of spatial robustness* (ICML 2019). It needs no gradients.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = ("image",)
    norms: ClassVar[tuple[str, ...]] = (Spatial.norm,)

    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"expected `batch_size` >= 1, got {self.batch_size}")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        if model.task not in self.tasks:
            raise wrong_task(model.task)
        if not isinstance(threat, Spatial):
            raise UnsupportedError(f"{self.name} expected a threat of rotations and translations, got {threat.norm}")

        def search(clean: Tensor, labels: Tensor, rng: SampleRng) -> Tensor:
            result, left = clean.clone(), torch.arange(len(clean), device=clean.device)
            for motion in threat.motions:
                moved = threat.apply(motion, clean[left])
                fooled = model.predict(moved) != labels[left]
                result[left[fooled]] = moved[fooled]
                left = left[~fooled]
                if not len(left):
                    break
            return result

        return attack_correct(
            search, model, x, y, threat, ids=ids, rng_stream=self.name, seed=seed, batch_size=self.batch_size
        )
