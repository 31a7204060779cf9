"""Two classifiers side by side on the same samples, with McNemar's test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from xaibench.errors import InputError
from xaibench.evaluate import Evaluation
from xaibench.evaluate.hardness import Interval
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.results import Results
from xaibench.evaluate.tally import worst_case
from xaibench.metrics import wilson_interval
from xaibench.report.schema import Report

__all__ = ["Comparison", "Side", "Test", "compare", "load_side", "mcnemar", "side_of"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a comparison needs of an evaluation."""

    name: str
    data: str
    data_digest: str
    plan: Plan
    results: Results
    class_names: tuple[str, ...]
    correct: Tensor
    """(n,) bool: classified correctly before any attack."""
    broken_at: Tensor | None
    """(n,) position of the smallest radius at which an attack broke it; None where none was made."""


@dataclass(frozen=True, kw_only=True)
class Test:
    """The same samples under two classifiers, and how likely such a difference is by chance.

    McNemar, *Note on the sampling error of the difference between correlated proportions or percentages* (Psychometrika
    1947), in its exact form: the binomial test of who wins the samples on which they differ.
    """

    what: str
    accuracy: tuple[float, float]
    interval: tuple[Interval, Interval]
    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two evaluations on the same samples, within the same threat model."""

    names: tuple[str, str]
    n: int
    tests: tuple[Test, ...]
    radii: tuple[float, ...]
    curves: tuple[tuple[float, ...], tuple[float, ...]]
    """Worst-case robust accuracy at each radius that both have."""
    per_class: tuple[tuple[str, int, int | None, int | None], ...]
    """Name, samples, and how many of them are robust on each side; recall in place of that without attacks."""


def load_side(folder: Path | str) -> Side:
    """A report to compare."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    report = Report.read(folder)
    try:
        tensors = load_file(Path(folder) / "adversarials.safetensors")
    except (OSError, SafetensorError) as error:
        raise InputError(f"expected adversarials.safetensors in {folder}, got: {error}") from None
    return _side(report.model.name, report, tensors)


def side_of(evaluation: Evaluation) -> Side:
    """A finished evaluation to compare."""
    return _side(evaluation.model.name, evaluation, dict(evaluation.adversarials))


def _side(name: str, found: Report | Evaluation, tensors: dict[str, Tensor]) -> Side:
    attacked = found.results.robustness is not None and any(key.startswith("broken_at/") for key in tensors)
    return Side(
        name=name,
        data=found.data.name,
        data_digest=found.data.digest,
        plan=found.plan,
        results=found.results,
        class_names=found.data.class_names,
        correct=tensors["predictions"] == tensors["labels"],
        broken_at=worst_case(found.plan, tensors).broken_at if attacked else None,
    )


def compare(first: Side, second: Side) -> Comparison:
    """Set two evaluations side by side; other samples or another threat model raise `InputError`."""
    if first.data_digest != second.data_digest:
        raise InputError(
            f"expected two evaluations on the same samples, got {len(first.correct)} of {first.data} and"
            f" {len(second.correct)} of {second.data}, with different digests"
        )
    tests = [mcnemar("clean", first.correct, second.correct)]
    one, other = first.results.robustness, second.results.robustness
    if (one is None) != (other is None):
        raise InputError(f"expected attacks on both, got none on {(first if one is None else second).name}")
    radii: tuple[float, ...] = ()
    curves: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    per_class = tuple(
        (name, scores.support, _hits(scores.recall, scores.support), _hits(also.recall, also.support))
        for name, scores, also in zip(
            first.class_names, first.results.clean.per_class, second.results.clean.per_class, strict=True
        )
    )
    if one is not None and other is not None:
        if (one.norm, one.eps) != (other.norm, other.eps):
            raise InputError(
                f"expected one threat model, got {one.norm} {one.eps:g} for {first.name} and {other.norm}"
                f" {other.eps:g} for {second.name}"
            )
        if first.broken_at is None or second.broken_at is None:
            raise InputError("expected reports that say which samples were broken, got one of an older version")
        tests.append(mcnemar("robust", first.broken_at > one.index, second.broken_at > other.index))
        radii = tuple(radius for radius in one.radii if radius in other.radii)
        curves = (
            tuple(one.worst_case.accuracy[one.radii.index(radius)] for radius in radii),
            tuple(other.worst_case.accuracy[other.radii.index(radius)] for radius in radii),
        )
        per_class = tuple(
            (mine.name, mine.support, mine.robust, also.robust)
            for mine, also in zip(one.per_class, other.per_class, strict=True)
        )
    return Comparison(
        names=(first.name, second.name),
        n=len(first.correct),
        tests=tuple(tests),
        radii=radii,
        curves=curves,
        per_class=per_class,
    )


def mcnemar(what: str, first: Tensor, second: Tensor) -> Test:
    """Compare which samples (n,), bool, each side gets right.

    >>> import torch
    >>> right = torch.tensor([True] * 6 + [False] * 2)
    >>> mcnemar("clean", right, torch.zeros(8, dtype=torch.bool)).p_value
    0.03125
    """
    from scipy.stats import binomtest

    n, only_first, only_second = len(first), int((first & ~second).sum()), int((second & ~first).sum())
    differing = only_first + only_second
    hits = int(first.sum()), int(second.sum())
    return Test(
        what=what,
        accuracy=(hits[0] / n, hits[1] / n),
        interval=(wilson_interval(hits[0], n), wilson_interval(hits[1], n)),
        only_first=only_first,
        only_second=only_second,
        p_value=float(binomtest(only_first, differing).pvalue) if differing else 1.0,
    )


def _hits(recall: float | None, support: int) -> int | None:
    return None if recall is None else round(recall * support)
