"""Data as a model wants them: its classes and features by name, or a refusal before any work is done."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xaibench.data import Data
from xaibench.errors import InputError
from xaibench.types import Bounds, Classifier

__all__ = ["align", "are_numbers"]

_OUTSIDE = 0.05
"""Share of values that may lie outside the model's bounds: a test split reaches a little beyond its training split."""

_FEWEST = 20
"""Rows without which one unusual row would decide that share."""

_MOST_OUTSIDE = 0.5
"""The same share of fewer rows of a table, or where its own range is the bounds: few training rows leave much out."""


def align(model: Classifier, data: Data) -> Data:
    """The same samples with labels that are the model's class indices, and a table's columns in the model's order.

    Names decide, wherever both sides have them; names that are no more than 0 to n-1 match by position. Data that the
    model cannot classify raise `InputError`.
    """
    if data.task != model.task:
        raise InputError(f"expected {model.task} data for this model, got {data.task} data ({data.name})")
    data = _align_features(model, _align_classes(model, data))
    if isinstance(data.inputs, Tensor):
        _check_inputs(model, data, data.inputs)
    return data


def are_numbers(names: Sequence[str]) -> bool:
    """Whether names say no more than their positions do.

    >>> are_numbers(("0", "1")), are_numbers(("1", "0"))
    (True, False)
    """
    return tuple(names) == tuple(map(str, range(len(names))))


def _align_classes(model: Classifier, data: Data) -> Data:
    wanted, got = model.class_names, data.class_names
    if are_numbers(wanted) or are_numbers(got):
        if len(wanted) != len(got):
            raise InputError(f"expected data with the model's {len(wanted)} classes, got {len(got)} ({data.name})")
        return data
    unknown = next((name for name in got if name not in wanted), None)
    if unknown is not None:
        raise InputError(
            f"expected classes that the model knows ({_listed(wanted)}), got {unknown!r} ({data.name}); plain labels"
            " 0, 1, ... match by position"
        )
    return data.with_classes(wanted)


def _align_features(model: Classifier, data: Data) -> Data:
    wanted, got = model.card.feature_names if model.card else None, data.feature_names
    if wanted is None or got is None or are_numbers(wanted) or are_numbers(got):
        return data
    missing = next((name for name in wanted if name not in got), None)
    if missing is not None:
        raise InputError(f"expected a column {missing!r}, as the model has, got {_listed(got)} ({data.name})")
    return data.with_features(wanted)


def _check_inputs(model: Classifier, data: Data, inputs: Tensor) -> None:
    """Refuse a wrong shape, and values for which the model's box would make every radius meaningless."""
    expected, came = model.input_shape, tuple(inputs.shape[1:])
    if expected is not None and (
        len(expected) != len(came) or any(size not in (None, got) for size, got in zip(expected, came, strict=True))
    ):
        raise InputError(f"expected inputs of shape {expected} for this model, got {came} ({data.name})")
    if model.task == "image" and model.bounds != data.bounds:
        raise InputError(
            f"expected a model of inputs in {_box(data.bounds)}, as {data.name} has, got {_box(model.bounds)}"
        )
    outside = float((model.bounds.clip(inputs) != inputs).double().mean())
    lenient = model.task == "tabular" and (len(data) < _FEWEST or model.bounds == data.bounds)
    if outside > (_MOST_OUTSIDE if lenient else _OUTSIDE):
        way = "a table's `bounds` are given per feature, or for all at once (--bounds=-10,10 on the command line)"
        if model.card:
            way = "are they in the units that it was trained on?"
        raise InputError(
            f"expected inputs within the model's bounds, got {outside:.0%} of the values of {data.name} outside: {way}"
        )


def _box(bounds: Bounds) -> str:
    return f"[{bounds.lower}, {bounds.upper}]"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown
