"""The two things that an evaluation is about, a classifier and samples, each given as an object or loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from xaibench.classifiers import Options
from xaibench.data import Data, TooFewRowsError, load_data
from xaibench.errors import InputError
from xaibench.evaluate.options import ModelOptions
from xaibench.registry import Spec
from xaibench.types import Classifier
from xaibench.zoo import load_model

__all__ = ["load_classifier", "load_pair", "rows_at"]


def load_pair(
    model: str | Classifier,
    data: str | Data | None = None,
    *,
    weights: str | Path | None = None,
    options: ModelOptions | None = None,
    split: str = "test",
    n: int | None = None,
    seed: int | None = 0,
) -> tuple[Classifier, Data]:
    """A classifier and samples for it, loaded unless they are given.

    Without ``data`` the samples are of the set that the model's card names. ``n`` of the split are drawn by ``seed``,
    or all of them where it has fewer; given `Data` is taken as it is. A model that says neither takes its task and the
    box of its inputs from the data.
    """
    samples = _select(data, split, n, seed) if isinstance(data, str) else data
    classifier = load_classifier(model, weights, options or ModelOptions(), samples)
    if samples is not None:
        return classifier, samples
    if classifier.card is None:
        raise InputError(f"expected `data` for {model!s:.80}, which does not say what it was trained on, got none")
    return classifier, _select(classifier.card.data.name, split, n, seed)


def _select(name: str, split: str, n: int | None, seed: int | None) -> Data:
    try:
        return load_data(name, split, n, seed)
    except TooFewRowsError as error:
        return load_data(name, split, error.size, seed)


def rows_at(data: Data, index: Sequence[int]) -> Data:
    """The rows with these ids in the full split; `InputError` for those that it does not have."""
    places = {row: place for place, row in enumerate(data.ids.tolist())}
    if missing := [row for row in index if row not in places]:
        raise InputError(f"expected rows of the {data.split} split (0 to {max(places)}), got {missing[0]}")
    return data.take([places[row] for row in index])


def load_classifier(
    model: str | Classifier, weights: str | Path | None, options: ModelOptions, samples: Data | None = None
) -> Classifier:
    """A classifier, loaded unless it is given; what it does not say of itself is taken from ``samples``."""
    chosen = options.chosen
    architecture = _sized(chosen.pop("architecture", None), samples)
    defaults = Options() if samples is None else Options(task=samples.task, bounds=samples.bounds)
    if chosen.get("task", defaults.get("task")) == "image" and "bounds" in chosen:
        chosen = _in_unit_box(chosen)
    classifier = load_model(model, weights=weights, architecture=architecture, defaults=defaults, **chosen)
    if classifier.card is not None and chosen:
        raise InputError(
            f"expected no `{next(iter(chosen))}` for {classifier.card.name}, whose card says what it is, got one"
        )
    return classifier


def _sized(architecture: str | None, samples: Data | None) -> Spec | None:
    """An architecture with the sizes of the data where it names none."""
    if architecture is None:
        return None
    spec = Spec.parse(architecture)
    if samples is None or not isinstance(samples.inputs, Tensor):
        return spec
    sizes = {"input_shape": list(samples.inputs.shape[1:]), "classes": len(samples.class_names)}
    return Spec(spec.name, {**sizes, **spec.params})


def _in_unit_box(chosen: dict[str, Any]) -> dict[str, Any]:
    """The same model as seen from images in [0, 1]: the map to its own range joins its normalisation."""
    low, high = chosen["bounds"]
    if not low < high:
        raise InputError(f"expected bounds with lower < upper, got {low} and {high}")
    mean = [(value - low) / (high - low) for value in chosen.get("mean", (0.0,))]
    std = [value / (high - low) for value in chosen.get("std", (1.0,))]
    return {**chosen, "bounds": (0.0, 1.0), "mean": mean, "std": std}
