"""The one frame around every attack that Foolbox runs: what it is called there, and how its samples stay apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from xaibench.attacks.base import attack_correct, check_norm, wrong_task
from xaibench.errors import InputError, UnsupportedError
from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.types import Bounds, Capability, Classifier, Task, require

__all__ = ["ANY", "Draws", "Entry", "FoolboxAttack"]

Draws = Literal["each", "inner", "shared", "alone"]
"""How an attack lays out the random numbers of a batch, which decides how they are told apart by sample.

``each``: (samples, ...), and ``inner``: (steps, samples, ...), get the numbers of each sample. ``shared``: one draw
serves all samples, so all get the same, whatever the batch. ``alone``: the layout depends on the batch, so samples run
one at a time.
"""

ANY = ("l0", "l1", "l2", "linf")
_NUDGE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How an attack of ours is made of one of Foolbox's (or of `xaibench.attacks.foolbox.mended`)."""

    by_norm: Mapping[str, str]
    """The class for each norm that it can search in."""
    needs: tuple[Capability, ...] = (Capability.GRADIENTS,)
    draws: Draws = "each"
    start: str = ""
    """The class whose results it starts from; a sample without one is not attacked."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Fields of ours that are called otherwise there."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that are no choice, for samples would depend on each other."""
    targeted: bool = False
    """Aims at the runner-up class, for it cannot search for any wrong class."""


@dataclass(frozen=True, kw_only=True)
class FoolboxAttack:
    """A search of Foolbox behind the protocol `Attack`; a subclass adds an `Entry`, its fields and their meaning.

    Rauber et al., *Foolbox Native* (JOSS 2020). The search runs in the unit cube, the box of valid inputs mapped to
    [0, 1] in every feature, where Foolbox's distances are those of the threat up to a factor; a threat whose ``scale``
    is not in proportion to the box is refused. Its random numbers are counted off `SampleRng`; no global generator is
    touched. What it finds is moved into the ball before `attack_correct` looks at it again.
    """

    name: ClassVar[str]
    entry: ClassVar[Entry]
    tasks: ClassVar[tuple[Task, ...]] = ("image", "tabular")
    norms: ClassVar[tuple[str, ...]]
    shares: ClassVar[tuple[str, ...]] = ()
    """Fields that lie within 0..1."""

    batch_size: int = 256

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.norms = tuple(cls.entry.by_norm)

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in self.shares:
                if not 0 <= value <= 1:
                    raise InputError(f"expected `{each.name}` within 0..1, got {value}")
                continue
            if each.type == "int" and value < 1:
                raise InputError(f"expected `{each.name}` >= 1, got {value}")
            # What is 0 by default may be 0.
            if each.type == "float" and not (0 < value < math.inf or value == each.default == 0):
                raise InputError(f"expected `{each.name}` > 0 and finite, got {value}")

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`."""
        entry = self.entry
        if model.task not in self.tasks:
            raise wrong_task(model.task)
        require(model, self.name, *entry.needs)
        check_norm(self, threat)
        eps = threat.eps / _unit(threat, model.bounds)

        def search(clean: Tensor, labels: Tensor, rng: SampleRng) -> Tensor:
            from xaibench.attacks.foolbox.bridge import Samples, run

            found = run(entry, self._parameters(), Samples(model, clean, labels, rng), norm=threat.norm, eps=eps)
            # A threat with rules beyond a ball says how a point is made to keep them.
            inside = getattr(threat, "finish", threat.project)
            result: Tensor = inside(found, clean, model.bounds)
            # The smallest perturbation ends at the boundary, where rounding decides: take what failed a bit further.
            failed = model.predict(result) == labels
            further = clean[failed] + (1 + _NUDGE) * (found[failed] - clean[failed])
            result[failed] = inside(further, clean[failed], model.bounds)
            return result

        return attack_correct(
            search, model, x, y, threat, ids=ids, rng_stream=self.name, seed=seed, batch_size=self.batch_size
        )

    def _parameters(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "batch_size"}


def _unit(threat: Threat, bounds: Bounds) -> float:
    """How far apart the two ends of the unit cube are along each feature, in units of the threat."""
    if threat.norm == "l0":
        return 1.0
    sides = torch.tensor(bounds.span, dtype=torch.float64) / torch.tensor(threat.scale or 1.0, dtype=torch.float64)
    if float(sides.max()) > float(sides.min()) * (1 + 1e-6):
        raise UnsupportedError(
            "Foolbox measures all features alike: expected a scale in proportion to the box of inputs, "
            f"got one {float(sides.max() / sides.min()):.3g} times as long as another"
        )
    return float(sides.max())
