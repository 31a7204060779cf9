"""What every attack shares: the protocol, the registry, and the frame that checks inputs and successes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from xaibench.attacks.engine import Found, Jobs, Problem, Walk, drive
from xaibench.errors import InputError, UnsupportedError
from xaibench.registry import Registry
from xaibench.rng import SampleRng
from xaibench.threats import Threat, Words, check_threat, contains
from xaibench.types import Classifier, Inputs, Task, model_inputs

__all__ = [
    "Attack",
    "Search",
    "WalkPlan",
    "attack_correct",
    "attacks",
    "attacks_for",
    "check_inputs",
    "check_labels",
    "check_norm",
    "walk_correct",
    "wrong_task",
]


class Attack(Protocol):
    """A search for misclassified inputs near given ones.

    The result depends on the samples, their ``ids`` and the seed alone; on batches and order only up to the rounding of
    the model's arithmetic.
    """

    name: ClassVar[str]

    def __call__(
        self, model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, ids: Tensor | None = None, seed: int = 0
    ) -> Tensor:
        """Adversarial examples for inputs ``x`` (n, ...) of classes ``y`` (n,), in the shape and dtype of ``x``.

        Where the attack succeeds the row is misclassified, in the box, and within ``threat`` of its clean input: each
        success is checked again before it is returned. Every other row is the clean input itself, also where that is
        misclassified already; so ``model.predict(result) != y`` says which samples are broken. ``ids`` (n,), int64,
        name the samples for the random numbers; 0..n-1 if not given.

        Raises `InputError` for labels or ids that do not fit the inputs and for a threat larger than the box, and
        `UnsupportedError` for text and for models without what the attack needs.
        """
        ...


attacks: Registry[Attack] = Registry("attack")
"""Attacks by name."""

Search = Callable[[Tensor, Tensor, SampleRng], Tensor]
"""From correctly classified inputs (n, ...), their classes (n,) and a random stream to candidates (n, ...)."""

WalkPlan = Callable[[Problem, Tensor], tuple[Walk, Jobs]]
"""From the correctly classified samples and their clean logits (n, classes) to a walk, and who makes it."""

_LOGITS = 256


def walk_correct(
    plan: WalkPlan,
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    ids: Tensor | None,
    seed: int,
    batch_size: int | None,
    note: Callable[[Problem, Tensor, Jobs, Found], None] | None = None,
) -> Tensor:
    """Let walks start from the correctly classified samples, all in one flat batch, and keep verified successes.

    ``note`` is told what was attacked, with which clean logits, by which jobs, and what they found.
    """
    x, y, ids = _checked(model, x, y, threat, ids)
    with torch.no_grad():
        logits = torch.cat([model.logits(part) for part in x.split(batch_size or _LOGITS)])
    rows = (logits.argmax(dim=1) == y).nonzero().flatten()
    result = x.clone()
    if len(rows):
        problem = Problem(model, x[rows], y[rows], ids[rows], threat, seed)
        walk, jobs = plan(problem, logits[rows])
        found = drive(problem, walk, jobs, batch_size=batch_size)
        result[rows] = found.adversarials
        if note is not None:
            note(problem, logits[rows], jobs, found)
    return result


def attack_correct(
    search: Search,
    model: Classifier,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    ids: Tensor | None,
    rng_stream: str,
    seed: int,
    batch_size: int,
) -> Tensor:
    """Run a search on the correctly classified samples, ``batch_size`` at a time, and keep verified successes."""
    x, y, ids = _checked(model, x, y, threat, ids)
    result = x.clone()
    for rows in torch.arange(len(x), device=x.device).split(batch_size):
        rows = rows[model.predict(x[rows]) == y[rows]]  # noqa: PLW2901 - what is left to attack of this batch
        if not len(rows):
            continue
        clean = x[rows]
        found = search(clean, y[rows], SampleRng(ids[rows], seed=seed, stream=rng_stream))
        success = contains(threat, found, clean, model.bounds) & (model.predict(found) != y[rows])
        result[rows[success]] = found[success]
    return result


def attacks_for(task: Task, norm: str | None = None) -> tuple[str, ...]:
    """Names of the attacks that exist for a task, and search in a norm if one is given.

    A class says so in ``tasks``, images and tables if it does not, and in ``norms``, else all balls.
    """
    every = tuple(name for name in attacks if task in getattr(attacks.get(name), "tasks", ("image", "tabular")))
    if norm is None:
        return every
    usual = (Words.norm,) if task == "text" else ("linf", "l2", "l1", "l0")
    return tuple(name for name in every if norm in getattr(attacks.get(name), "norms", usual))


def check_norm(method: Attack, threat: Threat) -> None:
    """Raise `UnsupportedError` for a threat in a norm that is not among the ``norms`` of the attack."""
    norms: tuple[str, ...] = getattr(method, "norms")  # noqa: B009 - not all attacks have it
    if threat.norm not in norms:
        raise UnsupportedError(f"{method.name} is defined for {', '.join(norms)}, got a threat in {threat.norm}")


def wrong_task(task: Task) -> UnsupportedError:
    """The error of an attack that does not exist for a task, with those that do."""
    return UnsupportedError(f"this attack does not exist for task {task!r}; these do: {', '.join(attacks_for(task))}")


def check_labels(model: Classifier, x: Tensor, y: Tensor) -> None:
    """Raise `InputError` unless ``y`` holds a class of the model for each of ``x``."""
    if y.shape != x.shape[:1] or y.is_floating_point():
        raise InputError(f"expected {len(x)} class indices, got {y.dtype} {tuple(y.shape)}")
    if int(y.min()) < 0 or int(y.max()) >= model.num_classes:
        raise InputError(f"expected classes in 0..{model.num_classes - 1}, got {int(y.min())}..{int(y.max())}")


def check_inputs(
    model: Classifier,
    inputs: Inputs,
    labels: Tensor | Sequence[int],
    threat: Threat,
    ids: Tensor | Sequence[int] | None,
) -> tuple[Tensor, Tensor, Tensor, Threat]:
    """Inputs (token ids for text), labels, ids and threat as attacks take them, on the model's device.

    Whatever does not fit raises `InputError`. Images have to lie within the bounds; a table's values may lie outside
    the range that the model was told of.
    """
    if model.num_classes < 2:
        raise InputError(f"expected a model of at least 2 classes to attack, got {model.num_classes}")
    y = labels if isinstance(labels, Tensor) else torch.tensor(list(labels))
    ids = ids if ids is None or isinstance(ids, Tensor) else torch.tensor(list(ids))
    if ids is not None and len(ids.unique()) < len(ids):
        raise InputError(f"expected another id for each sample, got {len(ids)} with {len(ids.unique())} values")
    if model.task == "text":
        x = model_inputs(model, inputs).to(model.device)
        if not isinstance(threat, Words):
            raise InputError(f"expected a threat of words for text, got {threat.norm}")
        check_labels(model, x, y)
        check_threat(threat, model.bounds, x.shape[1:])
        ids = torch.arange(len(x)) if ids is None else ids
        return x, y.to(x.device), ids.to(x.device), threat.fit(model)
    if not isinstance(inputs, Tensor):
        raise InputError(f"expected inputs as a tensor, got {type(inputs).__name__}")
    x, y, ids = _checked(model, inputs, y, threat, ids)
    broken = int((~x.isfinite()).flatten(1).any(dim=1).sum())
    if broken:
        raise InputError(f"expected finite inputs, got NaN or infinity in {broken} of {len(x)}")
    low, high = model.bounds.tensors(x)
    if model.task == "image" and not bool(((x >= low) & (x <= high)).all()):
        span = f"{float(x.min()):.6g}..{float(x.max()):.6g}"
        raise InputError(f"expected inputs within {model.bounds.lower}..{model.bounds.upper}, got {span}")
    return x, y, ids, threat


def _checked(
    model: Classifier, x: Tensor, y: Tensor, threat: Threat, ids: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if model.task == "text":
        raise wrong_task(model.task)
    if x.ndim < 2 or not x.is_floating_point() or not len(x):
        raise InputError(f"expected a batch of floating-point inputs (n, ...), got {x.dtype} {tuple(x.shape)}")
    check_labels(model, x, y)
    if ids is not None and (ids.shape != y.shape or ids.is_floating_point()):
        raise InputError(f"expected {len(x)} sample ids, whole numbers, got {ids.dtype} {tuple(ids.shape)}")
    check_threat(threat, model.bounds, x.shape[1:])
    x = x.detach().to(model.device)
    ids = torch.arange(len(x)) if ids is None else ids
    return x, y.to(x.device), ids.to(x.device)
