"""Adversarial examples of one model tried on another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xaibench.attacks.base import Attack, attack_correct, attacks, wrong_task
from xaibench.errors import InputError
from xaibench.registry import Spec
from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.types import Classifier, Task
from xaibench.zoo import load_model

__all__ = ["Transfer", "transfer"]


@attacks.register("transfer")
@dataclass(frozen=True, kw_only=True)
class Transfer:
    """The adversarial examples that an attack finds for another model.

    Papernot et al., *Transferability in machine learning: from phenomena to black-box attacks using adversarial
    samples* (2016). ``source`` is the other model, as `load_model` takes it; ``attack`` is the spec of the attack on
    it. Samples that the source gets wrong unchanged are not attacked there, so they stay as they are.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = ("image", "tabular")

    source: str
    attack: str = "pgd"
    batch_size: int = 256

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"expected `batch_size` >= 1, got {self.batch_size}")
        if Spec.parse(self.attack).name == self.name:
            raise InputError(f"expected an attack on {self.source} itself, got {self.attack}")
        attacks.create(self.attack)

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        source, attack = load_model(self.source), attacks.create(self.attack)
        return transfer(source, model, x, y, threat, attack=attack, ids=ids, seed=seed, batch_size=self.batch_size)


def transfer(
    source: Classifier,
    target: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    attack: Attack,
    ids: Tensor | None = None,
    seed: int = 0,
    batch_size: int = 256,
) -> Tensor:
    """Adversarial examples of ``source`` for inputs ``x`` (n, ...), where they fool ``target`` too; see `Attack`.

    Raises `InputError` unless both models take the same inputs and tell as many classes apart.
    """
    if target.task not in Transfer.tasks:
        raise wrong_task(target.task)
    for what in ("task", "bounds", "num_classes"):
        here, there = getattr(source, what), getattr(target, what)
        if here != there:
            raise InputError(f"expected a source with the target's {what} {there}, got {here}")

    def search(clean: Tensor, labels: Tensor, rng: SampleRng) -> Tensor:
        return attack(source, clean, labels, threat, ids=rng.ids, seed=seed).to(clean.device)

    return attack_correct(
        search, target, x, y, threat, ids=ids, rng_stream="transfer", seed=seed, batch_size=batch_size
    )
