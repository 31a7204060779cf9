"""The two sides of a comparison: a finished evaluation or a report, and the live model where it is at hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError, first_line
from xaibench.evaluate import Evaluation, align, load_pair
from xaibench.evaluate.align import are_numbers
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.results import DataInfo, ModelInfo, Results
from xaibench.evaluate.tally import worst_case
from xaibench.report.schema import Report
from xaibench.report.tensors import read_adversarials
from xaibench.types import Classifier
from xaibench.zoo import is_factory

__all__ = ["Live", "Side", "check_alike", "load_side", "side_of"]


@dataclass(frozen=True, kw_only=True)
class Live:
    """A classifier that can be asked again, and the samples as it takes them."""

    model: Classifier
    data: Data


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a comparison needs of an evaluation."""

    plan: Plan
    model: ModelInfo
    data: DataInfo
    results: Results
    tensors: Mapping[str, Tensor]
    """See `Evaluation`."""
    live: Live | str
    """The classifier, or why there is none."""

    @property
    def correct(self) -> Tensor:
        """(n,) bool: classified correctly before any attack."""
        return self.tensors["predictions"] == self.tensors["labels"]

    @property
    def broken_at(self) -> Tensor:
        """(n,) position of the smallest radius at which an attack broke it."""
        if not any(key.startswith("broken_at/") for key in self.tensors):
            raise InputError(
                f"expected a report that says which samples were broken, got one of an older version of"
                f" {self.model.name}: write it again"
            )
        return worst_case(self.plan, self.tensors).broken_at


def side_of(evaluation: Evaluation, model: Classifier, data: Data) -> Side:
    """A finished evaluation of a classifier, on data aligned with it."""
    return Side(
        plan=evaluation.plan,
        model=evaluation.model,
        data=evaluation.data,
        results=evaluation.results,
        tensors=evaluation.adversarials,
        live=Live(model=model, data=data),
    )


def load_side(folder: Path | str, *, live: bool = True) -> Side:
    """A report to compare, with its classifier where that can be loaded and is still the same."""
    report = Report.read_unchanged(folder)
    tensors = read_adversarials(folder, report)
    if missing := [name for name in ("labels", "predictions") if name not in tensors]:
        raise InputError(f"expected a report that holds its {missing[0]}, got one of an older version in {folder}")
    return Side(
        plan=report.plan,
        model=report.model,
        data=report.data,
        results=report.results,
        tensors=tensors,
        live=_reloaded(report) if live else "it was not asked for",
    )


def _reloaded(report: Report) -> Live | str:
    plan = report.plan
    if plan.given:
        return f"the report of {report.model.name} is on an object, which it only names"
    if is_factory(plan.model):
        return f"{report.model.name} is code that its report names, and a report runs none"
    try:
        model, data = load_pair(
            plan.model,
            plan.data,
            weights=plan.weights,
            options=plan.options,
            split=plan.split,
            n=plan.n,
            seed=plan.seed,
        )
        data = align(model, data)
    except InputError as error:
        return f"{report.model.name} could not be loaded again: {first_line(error)}"
    for what, stated, found in (
        ("the model", report.model.digest, model.digest),
        ("the data", report.data.digest, data.digest),
    ):
        if stated != found:
            return f"{what} of the report of {report.model.name} has changed since"
    return Live(model=model, data=data)


def check_alike(
    names: tuple[str, str],
    tasks: tuple[str, str],
    classes: tuple[tuple[str, ...], tuple[str, ...]],
    samples: tuple[DataInfo, DataInfo] | None = None,
) -> None:
    """Raise `InputError` for two sides of another task, with other classes or on other samples.

    Classes that are no more than numbers match by position, as they do with data.
    """
    kinds: tuple[tuple[Literal["task", "classes"], tuple[str, str]], ...] = (
        ("task", tasks),
        ("classes", (_listed(classes[0]), _listed(classes[1]))),
    )
    unnamed = any(map(are_numbers, classes)) and len(classes[0]) == len(classes[1])
    if tasks[0] != tasks[1] or (classes[0] != classes[1] and not unnamed):
        what, found = next(((what, pair) for what, pair in kinds if pair[0] != pair[1]), kinds[1])
        raise InputError(
            f"expected two classifiers with the same {what}, got {found[0]} ({names[0]}) and {found[1]} ({names[1]})"
        )
    if samples is not None and samples[0].digest != samples[1].digest:
        one, other = samples
        raise InputError(
            f"expected two evaluations on the same samples, got {one.n} of {one.name} and"
            f" {other.n} of {other.name}, with different digests"
        )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
