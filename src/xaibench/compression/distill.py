"""Distillation: a smaller network trained on what the model says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xaibench.compression.base import Job, compressors
from xaibench.errors import InputError
from xaibench.registry import Spec
from xaibench.training import objectives, train

__all__ = ["Distill"]


@compressors.register("distill")
@dataclass(frozen=True, kw_only=True)
class Distill:
    """A network of another architecture, trained by the recipe of the model on its softened outputs.

    Hinton, Vinyals & Dean, *Distilling the knowledge in a neural network* (NIPS workshop 2014). A model that was
    trained against a threat is distilled against it (Goldblum et al., *Adversarially robust distillation*, AAAI 2020).

    Args:
        architecture: of the student, as a spec such as ``small_cnn:width=4``; torch or Keras.
        temperature: what both networks' logits are divided by.
        alpha: share of the teacher in the loss; the labels have the rest.
    """

    architecture: str
    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        objectives.create(Spec("distillation", {"teacher": "", **self._mixture}))
        Spec.parse(self.architecture)

    @property
    def _mixture(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "alpha": self.alpha}

    @property
    def suffix(self) -> str:
        """The student's architecture."""
        return f"to-{Spec.parse(self.architecture).name.replace('_', '-')}"

    def __call__(self, job: Job) -> int:
        """See `Compressor`."""
        if job.epochs == 0:
            raise InputError("expected epochs >= 1 with distill, got 0")
        student = Spec.parse(self.architecture)
        threat = job.card.recipe.get("threat")
        changes = {
            "architecture": {"name": student.name, "params": dict(student.params)},
            "objective": {
                "name": "distillation" if threat is None else "robust_distillation",
                "params": {"teacher": job.source, **self._mixture},
            },
        }
        if job.epochs is not None:
            changes["epochs"] = job.epochs
        recipe = job.recipe(changes, drop=("init", "freeze", "summary"))
        train(recipe, out=job.out, resume=(job.out / ".training").exists(), progress=job.progress)
        return recipe.epochs
