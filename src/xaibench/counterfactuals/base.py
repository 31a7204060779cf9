"""The smallest change of an input that makes a model decide otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from xaibench.counterfactuals.boundary import Box, nearest_flips
from xaibench.counterfactuals.goal import Goal
from xaibench.counterfactuals.result import CounterfactualResult, default_names, feature_edits
from xaibench.counterfactuals.rules import Feature, Rules
from xaibench.counterfactuals.sparse import few_flips
from xaibench.counterfactuals.tables import ValueSearch
from xaibench.counterfactuals.words import WordEdits, word_counterfactuals
from xaibench.errors import InputError
from xaibench.explainers.base import Targets
from xaibench.rng import check_seed
from xaibench.threats import L0, L1, L2, Linf, Threat
from xaibench.threats.base import feature_scale
from xaibench.types import Capability, Classifier, Inputs, check_classifier, require

__all__ = ["Norm", "counterfactual"]

Norm = Literal["auto", "l2", "l1", "linf", "l0", "words"]
"""What makes a change small. ``auto`` is l2 for images, l0 for tables, and words, the only one that text knows."""

_NORMS = {"image": ("l2", "l1", "linf", "l0"), "tabular": ("l2", "l1", "linf", "l0"), "text": ("words",)}
_ROUNDS, _GAIN = 8, 1 - 1e-6
_BALLS: dict[str, Any] = {"l2": L2, "l1": L1, "linf": Linf, "l0": L0}


def counterfactual(
    model: Classifier,
    inputs: Inputs,
    targets: Targets = None,
    *,
    norm: Norm = "auto",
    immutable: Sequence[Feature] = (),
    increasing: Sequence[Feature] = (),
    decreasing: Sequence[Feature] = (),
    integer: Sequence[Feature] = (),
    one_hot: Sequence[Sequence[Feature]] = (),
    lower: Mapping[Feature, float] | None = None,
    upper: Mapping[Feature, float] | None = None,
    feature_names: Sequence[str] | None = None,
    words: WordEdits = "both",
    max_changes: int | None = None,
    beam: int = 16,
    steps: int = 60,
    restarts: int = 1,
    seed: int = 0,
) -> CounterfactualResult:
    """The smallest change of each of ``inputs`` (n, ...) found with which the model decides otherwise.

    Wachter et al., *Counterfactual explanations without opening the black box* (2017), with the feasibility rules of
    Ustun et al., *Actionable recourse in linear classification* (FAT* 2019). ``targets`` are the classes to reach, (n,)
    or one; None is any other than the present one. Every answer is checked by a fresh pass and lies a hair beyond the
    boundary, so that rounding does not undo it. It is what the search found nearest, an upper bound of the distance:
    there may be a nearer one, but for linear models, where it is the nearest.

    - Images and measured features of models with gradients: a walk along the linearised boundary (see
      `nearest_flips`) of ``steps`` passes from the input and ``restarts`` - 1 points drawn by ``seed``, in l2, l1 or
      linf; for l0 features one by one by the gradient, then the shortest change of these.
    - Tables with whole numbers or categories, or models without gradients: a beam search over values (see
      `ValueSearch`) that keeps ``beam`` rows of either kind; with gradients the walk goes on from what it found.
    - Text: ``words`` are taken out, exchanged, or both, the fewest first (see `WordSearch`); exchanges need gradients
      at embeddings.

    Rules are for tables, with features by name (``feature_names``, by default those of the model's card) or index:
    ``immutable`` ones stay, ``increasing`` and ``decreasing`` ones move one way, ``integer`` ones are whole numbers,
    each group of ``one_hot`` has exactly one 1; ``lower`` and ``upper`` narrow the model's bounds. For text,
    ``immutable`` are words that stay. ``max_changes`` limits changed features (l0 and searches over values) or words, 8
    by default. Distances of tables count in shares of each feature's range.

    Raises `InputError` for rules, targets or norms that do not fit, and `UnsupportedError` for images without
    gradients and for word exchanges without embeddings.

    >>> from xaibench import load_data, load_model
    >>> model, rows = load_model("cancer-mlp"), load_data("breast-cancer", "test", n=2)
    >>> found = counterfactual(model, rows.inputs, norm="l1", immutable=["mean radius"])
    >>> found.found.tolist(), bool((model.predict(found.inputs) != found.before).all())
    ([True, True], True)
    """
    check_classifier(model)
    check_seed(seed)
    if model.task not in _NORMS or norm not in ("auto", *_NORMS[model.task]):
        raise InputError(f"expected norm as auto, {', '.join(_NORMS[model.task])} for {model.task}, got {norm!r}")
    for name, value in (("steps", steps), ("restarts", restarts), ("beam", beam), ("max_changes", max_changes)):
        if value is not None and value < 1:
            raise InputError(f"expected `{name}` >= 1, got {value}")
    rules = {
        "increasing": increasing,
        "decreasing": decreasing,
        "integer": integer,
        "one_hot": one_hot,
        "lower": lower,
        "upper": upper,
    }
    odd = next((name for name, value in rules.items() if value), None)
    if model.task != "tabular" and (odd or feature_names or (immutable and model.task == "image")):
        raise InputError(f"expected rules of features for tables only, got {odd or 'features'} for task {model.task!r}")
    if model.task == "text":
        stay = [str(word) for word in immutable]
        return word_counterfactuals(model, inputs, targets, stay=stay, words=words, most=max_changes or 8, beam=beam)
    x = model.embed(inputs).detach()  # type: ignore[arg-type]
    goal = Goal.of(model, x, targets)
    chosen = ("l0" if model.task == "tabular" else "l2") if norm == "auto" else norm
    scale = feature_scale(model.task, model.bounds)
    ball = _BALLS[chosen](1, scale=scale)
    unit = x.new_tensor(1.0 if scale is None else scale)
    walk = {"steps": steps, "restarts": restarts, "seed": seed}
    if model.task == "image":
        require(model, "a counterfactual of images", Capability.GRADIENTS)
        low, high = (side.expand_as(x) for side in model.bounds.tensors(x))
        box = Box(x, torch.minimum(low, x), torch.maximum(high, x), unit)
        candidate, found = _measured(goal, box, chosen, most=max_changes or x[0].numel(), walk=walk)
        return _result(goal, ball, box, candidate, found, names=default_names(x.shape[1:]), rules=None)
    names = _names(model, feature_names, x.shape[1])
    read = Rules.read(names, model.bounds, immutable=immutable, **rules)  # type: ignore[arg-type]
    read.check(x)
    box = Box(x, *read.limits(x), unit)
    most = max_changes or (x.shape[1] if chosen == "l0" else 8)
    candidate, found = _rows(goal, box, ball, read, most=most, beam=beam, walk=walk)
    return _result(goal, ball, box, candidate, found, names=names, rules=read)


def _rows(
    goal: Goal, box: Box, ball: Threat, rules: Rules, *, most: int, beam: int, walk: dict[str, int]
) -> tuple[Tensor, Tensor]:
    """Rows of a table (n, features) that reach the goal, and whether one was found."""
    gradients = Capability.GRADIENTS in goal.model.capabilities
    if gradients and not rules.discrete:
        return _measured(goal, box, ball.norm, most=most, walk=walk)
    candidate, found = ValueSearch(goal=goal, rules=rules, distance=ball, most=most, beam=beam)(box)
    if not gradients or ball.norm == "l0":
        return candidate, found
    counted = list(rules.discrete)
    for _ in range(_ROUNDS):
        before = candidate
        for rows in (box.clean, candidate, *rules.steps_back(candidate, box.clean)):
            # The walk keeps whole numbers and categories as they are in these rows.
            start, low, high = (part.clone() for part in (box.clean, box.low, box.high))
            for part in (start, low, high):
                part[:, counted] = rows[:, counted]
            other, reached = _measured(goal, Box(start, low, high, box.unit), ball.norm, most=most, walk=walk)
            far, now = (ball.distance(points, box.clean) for points in (other, candidate))
            nearer = reached & (~found | (far < now * _GAIN))
            candidate, found = torch.where(nearer[:, None], other, candidate), found | nearer
        if torch.equal(before, candidate):
            break
    return candidate, found


def _measured(goal: Goal, box: Box, norm: str, *, most: int, walk: dict[str, int]) -> tuple[Tensor, Tensor]:
    """By gradients, all features measured."""
    if norm != "l0":
        return nearest_flips(goal, box, norm=norm, **walk)
    sparse, found = few_flips(goal, box, most=most)
    moved = sparse != box.clean
    narrow = Box(box.clean, box.low.where(moved, box.clean), box.high.where(moved, box.clean), box.unit)
    shorter, reached = nearest_flips(goal, narrow, norm="l2", **walk)
    better = (found & reached & (narrow.offset(shorter).norm(dim=1) < narrow.offset(sparse).norm(dim=1))).float()
    return torch.lerp(sparse, shorter, better.view(-1, *[1] * (sparse.ndim - 1)).to(sparse)), found


def _result(
    goal: Goal,
    ball: Threat,
    box: Box,
    candidate: Tensor,
    found: Tensor,
    *,
    names: tuple[str, ...],
    rules: Rules | None,
) -> CounterfactualResult:
    x = box.clean
    already = goal.targets == goal.labels if goal.targets is not None else torch.zeros_like(found)
    rows = torch.where((found & ~already).view(-1, *[1] * (x.ndim - 1)), candidate, x)
    after = goal.model.predict(rows)
    reached = after == goal.targets if goal.targets is not None else after != goal.labels
    valid = ((rows >= box.low) & (rows <= box.high)).flatten(1).all(dim=1)
    found = reached & valid & (torch.ones_like(found) if rules is None else rules.keep(rows, x))
    rows = torch.where(found.view(-1, *[1] * (x.ndim - 1)), rows, x)
    changed = (rows != x).flatten(1).sum(dim=1) if rules is None else rules.changed(rows, x)
    distance = changed.double() if ball.norm == "l0" else ball.distance(rows, x).double()
    return CounterfactualResult(
        inputs=rows,
        original=x,
        found=found,
        distance=distance.masked_fill(~found, torch.inf),
        changed=changed,
        before=goal.labels,
        after=torch.where(found, after, goal.labels),
        norm=ball.norm,
        class_names=goal.model.class_names,
        edits=tuple(feature_edits(old, new, names, box.unit) for old, new in zip(x, rows, strict=True)),
    )


def _names(model: Classifier, given: Sequence[str] | None, features: int) -> tuple[str, ...]:
    """Names of a table's features: the given ones, else those of the model's card, else their places."""
    known = None if model.card is None else model.card.feature_names
    names = tuple(given or known or default_names(torch.Size([features])))
    if len(names) != features or len(set(names)) < features:
        raise InputError(f"expected {features} different feature names, got {len(names)}")
    return names
