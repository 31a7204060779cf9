"""Testing with concept activation vectors: how many decisions for a class lean on a concept, against chance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from xaibench.concepts.directions import concept_direction
from xaibench.errors import InputError, UnsupportedError, unknown_name
from xaibench.explainers.budget import DEFAULT_BUDGET, memory_budget, points_at_once
from xaibench.rng import permutation
from xaibench.types import Capability, Classifier, Inputs, model_inputs, require

__all__ = ["ConceptScore", "TcavResult", "tcav"]

_FEWEST = 3
"""Inputs of a concept in a run: two to fit, one to check."""
_ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class ConceptScore:
    """What a class owes to a concept at a layer."""

    concept: str
    layer: str
    scores: tuple[float, ...]
    """For each run, the share of inputs whose logit rises in the concept's direction: all, 1; none, 0."""
    random_scores: tuple[float, ...]
    """The same for random inputs in place of the concept's."""
    accuracy: float
    """Mean accuracy of the concept's directions on inputs kept out of their fit. Near a half, the layer does not know
    the concept, and its score means nothing."""
    p_value: float
    """Two-sided, of the paired t-test of scores against random ones: no difference."""
    p_adjusted: float
    """The same after Holm's correction for all concepts and layers tested together."""

    @property
    def score(self) -> float:
        """The mean over the runs."""
        return sum(self.scores) / len(self.scores)

    @property
    def significant(self) -> bool:
        """Whether the concept differs from chance at 5 %, for all concepts and layers together."""
        return self.p_adjusted < _ALPHA


@dataclass(frozen=True, kw_only=True)
class TcavResult:
    """Scores of all concepts at all layers, concept by concept."""

    target: int
    scores: tuple[ConceptScore, ...]
    n: int
    """Inputs whose logits were looked at."""
    runs: int
    size: int
    """Inputs of the concept, and random ones, in each run."""
    seed: int

    def of(self, concept: str, layer: str) -> ConceptScore:
        """The score of one concept at one layer."""
        for score in self.scores:
            if (score.concept, score.layer) == (concept, layer):
                return score
        known = [f"{score.concept} at {score.layer}" for score in self.scores]
        raise unknown_name("concept", f"{concept} at {layer}", known)


def tcav(
    model: Classifier,
    concepts: Mapping[str, Inputs] | Inputs,
    inputs: Inputs,
    target: int,
    layer: str | Sequence[str],
    *,
    random_inputs: Inputs,
    runs: int = 20,
    pool: Literal["none", "mean"] = "none",
    seed: int = 0,
    memory: int = DEFAULT_BUDGET,
) -> TcavResult:
    """How many ``inputs`` (n, ...) of class ``target`` lean on each concept at each layer.

    Kim et al., *Interpretability beyond feature attribution: quantitative testing with concept activation vectors*
    (ICML 2018). In each run a direction is fitted that tells inputs with the concept from random ones; the score is the
    share of inputs whose logit has a positive derivative in that direction. Beside it, random inputs take the concept's
    place, against the same others.

    The paper draws the runs from the same images and tests them as if they were independent, which finds concepts where
    there are none. Here no input is used in two runs, and scores are paired with random ones, so that the t-test keeps
    its level; its price is the number of inputs: of ``size`` in each run, a concept needs ``runs * size`` and
    ``random_inputs`` twice as many. ``size`` is the largest that they allow.

    Args:
        model: with activations and their gradients.
        concepts: inputs with each concept by its name; inputs alone are one concept, called "concept".
        inputs: inputs of the class, as a rule those that the model should assign to it.
        target: the class whose logit is looked at.
        layer: one name in `Classifier.layers` or several.
        random_inputs: inputs such as the model usually sees, without regard to any concept.
        runs: how often a direction is fitted, at least two.
        pool: ``mean`` averages activations over all places of an image, so that a concept has one direction wherever
            it stands; ``none`` takes each place as units of their own, as the paper does.
        seed: of how inputs are shared out over the runs.
        memory: what a pass through the model may hold, in bytes.

    Raises:
        InputError: too few inputs for the runs, an unknown layer or class.
        UnsupportedError: a model without activations or gradients, a layer that says the same of all inputs, or one
            that the logit does not depend on.
    """
    require(model, "tcav", Capability.GRADIENTS, Capability.ACTIVATIONS)
    if runs < 2:
        raise InputError(f"expected `runs` >= 2, got {runs}")
    if pool not in ("none", "mean"):
        raise InputError(f"expected `pool` as 'none' or 'mean', got {pool!r}")
    if not 0 <= target < model.num_classes:
        raise InputError(f"expected target in 0..{model.num_classes - 1}, got {target}")
    named = concepts if isinstance(concepts, Mapping) else {"concept": concepts}
    layers = list(dict.fromkeys([layer] if isinstance(layer, str) else layer))
    if not named or not layers:
        raise InputError(f"expected at least one concept and one layer, got {len(named)} and {len(layers)}")
    examples = {name: _read(model, given) for name, given in named.items()}
    others, x = _read(model, random_inputs), _read(model, inputs)
    size = _size_of_runs(examples, others, runs)
    order = permutation(len(others), seed, "tcav random")
    found: list[ConceptScore] = []
    with memory_budget(memory):
        for at in layers:
            slopes = _slopes(model, x, at, target, pool)
            random = _activations(model, others[order[: 2 * runs * size].to(others.device)], at, pool)
            references, negatives = random.split(runs * size)
            pairs = list(zip(references.split(size), negatives.split(size), strict=True))
            chance = [_score(positive, negative, slopes)[0] for positive, negative in pairs]
            for name, given in examples.items():
                chosen = permutation(len(given), seed, "tcav", name)[: runs * size].to(given.device)
                parts = _activations(model, given[chosen], at, pool).split(size)
                both = [_score(part, negative, slopes) for part, (_, negative) in zip(parts, pairs, strict=True)]
                scores = tuple(score for score, _ in both)
                p = _paired_test([one - other for one, other in zip(scores, chance, strict=True)])
                found.append(
                    ConceptScore(
                        concept=name,
                        layer=at,
                        scores=scores,
                        random_scores=tuple(chance),
                        accuracy=sum(accuracy for _, accuracy in both) / runs,
                        p_value=p,
                        p_adjusted=p,
                    )
                )
    return TcavResult(target=target, scores=_corrected(found), n=len(x), runs=runs, size=size, seed=seed)


def _read(model: Classifier, inputs: Inputs) -> Tensor:
    x = model_inputs(model, inputs)
    if not len(x):
        raise InputError("expected at least one input, got none")
    return x.to(model.device)


def _size_of_runs(examples: Mapping[str, Tensor], others: Tensor, runs: int) -> int:
    for name, given in examples.items():
        if len(given) < runs * _FEWEST:
            raise InputError(
                f"expected at least {runs * _FEWEST} inputs of concept {name!r} for {runs} runs, got {len(given)}"
            )
    if len(others) < 2 * runs * _FEWEST:
        raise InputError(f"expected at least {2 * runs * _FEWEST} random inputs for {runs} runs, got {len(others)}")
    return min(len(others) // (2 * runs), *(len(given) // runs for given in examples.values()))


def _activations(model: Classifier, x: Tensor, layer: str, pool: str) -> Tensor:
    """(m, d) on the CPU."""
    with torch.no_grad():
        parts = [model.activations(part, layer) for part in x.split(points_at_once(model, x, backward=False))]
    found = torch.cat(parts)
    if not found.is_floating_point() or len(found) != len(x):
        raise UnsupportedError(f"expected a layer with numbers for each sample, got {found.dtype} of layer {layer!r}")
    return _pooled(found, pool, torch.mean)


def _slopes(model: Classifier, x: Tensor, layer: str, target: int, pool: str) -> Tensor:
    """Gradients (n, d) of the target's logit at the layer, float64; those of a mean over places are their sum."""
    parts = [
        model.activation_gradient(part, layer, torch.full((len(part),), target, device=part.device)).gradient
        for part in x.split(points_at_once(model, x, backward=True))
    ]
    slopes = _pooled(torch.cat(parts), pool, torch.sum).double()
    if not bool(slopes.isfinite().all()):
        raise UnsupportedError(f"tcav needs finite gradients, got NaN or infinity at layer {layer!r}")
    if not bool(slopes.any()):
        raise UnsupportedError(f"expected a layer that the logit of class {target} depends on, got {layer!r}")
    return slopes


def _pooled(values: Tensor, pool: str, reduce: Callable[..., Tensor]) -> Tensor:
    values = values.detach().cpu()
    if pool == "mean" and values.ndim == 4:
        return reduce(values, dim=(2, 3))
    return values.flatten(1)


def _score(positive: Tensor, negative: Tensor, slopes: Tensor) -> tuple[float, float]:
    """The share of rising logits, and the direction's accuracy; where a logit does neither it counts as half."""
    direction = concept_direction(positive, negative)
    rise = slopes @ direction.vector
    return float(((rise > 0).double() + 0.5 * (rise == 0).double()).mean()), direction.accuracy


def _paired_test(differences: Sequence[float]) -> float:
    """Two-sided p-value of Student's t-test that the mean is zero; without any spread, that of the sign test."""
    from scipy.stats import t

    n = len(differences)
    mean = sum(differences) / n
    spread = math.sqrt(sum((value - mean) ** 2 for value in differences) / (n - 1))
    if spread < 1e-12:
        return 1.0 if abs(mean) < 1e-12 else 2.0 ** (1 - n)
    return float(2 * t.sf(abs(mean) / (spread / math.sqrt(n)), n - 1))


def _corrected(found: Sequence[ConceptScore]) -> tuple[ConceptScore, ...]:
    """Adjusted p-values after Holm, *A simple sequentially rejective multiple test procedure* (1979); by concept."""
    adjusted: dict[tuple[str, str], float] = {}
    largest = 0.0
    for rank, score in enumerate(sorted(found, key=lambda score: score.p_value)):
        largest = max(largest, min(1.0, (len(found) - rank) * score.p_value))
        adjusted[score.concept, score.layer] = largest
    names = list(dict.fromkeys(score.concept for score in found))
    ordered = sorted(found, key=lambda score: names.index(score.concept))
    return tuple(replace(score, p_adjusted=adjusted[score.concept, score.layer]) for score in ordered)
