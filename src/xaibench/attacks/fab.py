"""The fast adaptive boundary attack: steps to the linearised decision boundary, drawn back towards the clean input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xaibench.attacks.base import attacks, check_norm, walk_correct
from xaibench.attacks.engine import Answer, Jobs, Problem, Rows, State
from xaibench.attacks.gradient import check_counts, loss_towards
from xaibench.attacks.projections import NORMS, length, to_hyperplane
from xaibench.errors import InputError
from xaibench.threats import Threat
from xaibench.threats.geometry import box, units
from xaibench.types import Capability, Classifier, require

__all__ = ["FAB", "FABT"]


@attacks.register("fab_t")
@dataclass(frozen=True, kw_only=True)
class FABT:
    """The boundary attack towards each of the likeliest wrong classes, for linf, l2 and l1.

    Croce & Hein, *Minimally distorted adversarial examples with a fast adaptive boundary attack* (ICML 2020). Each step
    goes to the hyperplane on which the linearised logits of label and target are equal, ``eta`` times as far, mixed
    with the clean input's own step in a share of at most ``alpha_max``. A misclassified point is drawn back to ``beta``
    of its distance, until the model is right again.

    ``steps`` counts passes, each for logits and gradient: a point that is drawn back takes one, as a step does. A walk
    ends at the first misclassified point within the threat, which is not the nearest one. It starts at the clean input,
    from the second of ``restarts`` on at a random point of half the radius. ``targets`` is the number of classes aimed
    at. With ``batch_size`` None the fastest is found out.
    """

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = NORMS

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "steps", "targets", "restarts", "batch_size")
        _check_shares(self)

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; raises `UnsupportedError` for norms other than linf, l2 and l1 too."""
        require(model, self.name, Capability.GRADIENTS)

        def plan(problem: Problem, logits: Tensor) -> tuple[_Towards, Jobs]:
            return _Towards(self, problem), Jobs.targeted(problem, logits, self.targets, self.restarts)

        check_norm(self, threat)
        return walk_correct(plan, model, x, y, threat, ids=ids, seed=seed, batch_size=self.batch_size)


@attacks.register("fab")
@dataclass(frozen=True, kw_only=True)
class FAB:
    """The boundary attack towards whichever class is nearest at each step, for linf, l2 and l1.

    As `FABT`, but every step asks for the gradient towards each of the other classes, one pass each, and takes the
    hyperplane that is nearest in the linearised logits. With all gradients at hand, a misclassified point is linearised
    where it is, and the step from where it is drawn back to taken at once.
    """

    name: ClassVar[str]
    norms: ClassVar[tuple[str, ...]] = NORMS

    steps: int = 100
    restarts: int = 1
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_counts(self, "steps", "restarts", "batch_size")
        _check_shares(self)

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """See `Attack`; raises `UnsupportedError` for norms other than linf, l2 and l1 too."""
        require(model, self.name, Capability.GRADIENTS)

        def plan(problem: Problem, logits: Tensor) -> tuple[_Nearest, Jobs]:
            return _Nearest(self, problem, logits.shape[1] - 1), Jobs.untargeted(problem, self.restarts)

        check_norm(self, threat)
        return walk_correct(plan, model, x, y, threat, ids=ids, seed=seed, batch_size=self.batch_size)


@dataclass(frozen=True)
class _Towards:
    """The walk of `FABT`."""

    method: FABT
    problem: Problem
    repeats: ClassVar[int] = 1

    @property
    def steps(self) -> int:
        return self.method.steps

    def loss(self, rows: Rows) -> Callable[[Tensor, Tensor], Tensor]:
        return loss_towards("margin", rows.targets)

    def begin(self, rows: Rows) -> State:
        return {"x": _start(self.method, self.problem, rows)}

    def move(self, rows: Rows, state: State, answer: Answer) -> None:
        assert answer.loss is not None
        assert answer.gradient is not None
        right = (answer.logits.argmax(dim=1) == rows.labels).nonzero().flatten()
        drawn = torch.lerp(rows.clean, state["x"], self.method.beta)
        parts = {"clean": rows.clean, "x": state["x"], "value": answer.loss, "normal": answer.gradient}
        parts = {name: part[right] for name, part in parts.items()}
        state["x"] = drawn.index_copy_(0, right, _step(self.method, self.problem, back=1.0, **parts))


@dataclass(frozen=True)
class _Nearest:
    """The walk of `FAB`: ``classes`` questions at one point, then a step."""

    method: FAB
    problem: Problem
    classes: int
    repeats: ClassVar[int] = 1

    @property
    def steps(self) -> int:
        return self.method.steps * self.classes

    def loss(self, rows: Rows) -> Callable[[Tensor, Tensor], Tensor]:
        other = rows.steps % self.classes
        return loss_towards("margin", other + (other >= rows.labels).long())

    def begin(self, rows: Rows) -> State:
        x = _start(self.method, self.problem, rows)
        far = torch.full(rows.labels.shape, torch.inf, device=x.device)
        return {"x": x, "distance": far, "value": torch.zeros_like(far), "normal": torch.zeros_like(x)}

    def move(self, rows: Rows, state: State, answer: Answer) -> None:
        assert answer.loss is not None
        assert answer.gradient is not None
        threat = self.problem.threat
        slope = (answer.gradient * units(answer.gradient, threat.scale)).flatten(1)
        steepness = length(slope, _DUAL[threat.norm]).squeeze(1)
        distance = answer.loss.abs() / steepness.clamp_min(torch.finfo(steepness.dtype).tiny)
        nearer = (distance < state["distance"]).nonzero().flatten()
        for name, value in (("distance", distance), ("value", answer.loss), ("normal", answer.gradient)):
            state[name] = state[name].index_copy(0, nearer, value[nearer].to(state[name]))
        ready = (rows.steps % self.classes == self.classes - 1).nonzero().flatten()
        if len(ready):
            parts = {name: state[name][ready] for name in ("x", "value", "normal")}
            wrong = answer.logits[ready].argmax(dim=1) != rows.labels[ready]
            back = 1 - (1 - self.method.beta) * wrong.to(state["x"].dtype)[:, None]
            stepped = _step(self.method, self.problem, clean=rows.clean[ready], back=back, **parts)
            state["x"] = state["x"].index_copy(0, ready, stepped)
            state["distance"] = state["distance"].index_fill(0, ready, torch.inf)


_DUAL = {"linf": "l1", "l2": "l2", "l1": "linf"}


def _start(method: FAB | FABT, problem: Problem, rows: Rows) -> Tensor:
    if method.restarts == 1:
        return rows.clean.clone()
    drawn = problem.threat.sample(rows.rng(problem.seed, method.name), rows.clean, problem.bounds, rows.restarts)
    share = (rows.restarts > 0).to(drawn.dtype) / 2
    return torch.lerp(rows.clean, drawn, share.view(-1, *[1] * (drawn.ndim - 1)))


def _step(
    method: FAB | FABT,
    problem: Problem,
    *,
    clean: Tensor,
    x: Tensor,
    value: Tensor,
    normal: Tensor,
    back: float | Tensor,
) -> Tensor:
    """The next points, by ``value`` (r,) and its gradient ``normal`` at ``x``, which is first drawn ``back``.

    All happens in units of the scale, seen from the clean input, which is the origin.
    """
    threat, low, high = problem.threat, *box(clean, problem.bounds)
    unit = units(clean, threat.scale)
    normal = (normal * unit).flatten(1)
    offset, low_offset, high_offset = (((point - clean) / unit).flatten(1) for point in (x, low, high))
    at_clean = value[:, None] - (normal * offset).sum(dim=1, keepdim=True)
    at_drawn = at_clean + back * (value[:, None] - at_clean)
    offset = offset * back
    own = to_hyperplane(normal, -at_drawn, low_offset - offset, high_offset - offset, threat.norm)
    clean_own = to_hyperplane(normal, -at_clean, low_offset, high_offset, threat.norm)
    reach, clean_reach = (length(move, threat.norm).clamp_min(1e-8) for move in (own, clean_own))
    alpha = (reach / (reach + clean_reach)).clamp_max(method.alpha_max)
    mixed = (offset + method.eta * own) * (1 - alpha) + clean_own * (method.eta * alpha)
    return torch.minimum(torch.maximum(clean + mixed.view(clean.shape) * unit, low), high)


def _check_shares(method: FAB | FABT) -> None:
    if not 0 <= method.alpha_max <= 1:
        raise InputError(f"expected `alpha_max` in [0, 1], got {method.alpha_max}")
    if not method.eta >= 1:
        raise InputError(f"expected `eta` >= 1, got {method.eta}")
    if not 0 < method.beta <= 1:
        raise InputError(f"expected `beta` in (0, 1], got {method.beta}")
