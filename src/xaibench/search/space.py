"""What a search may change of a recipe, and within which range."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic import BaseModel

from xaibench.errors import InputError, unknown_name
from xaibench.registry import Spec
from xaibench.training import Recipe, objectives

__all__ = ["Range", "changed", "search_space"]

_DEFAULTS: Mapping[str, tuple[float, float, bool]] = {
    "optimizer.weight_decay": (1e-6, 1e-2, True),
    "threat.warmup": (0.0, 0.8, False),
    "objective.beta": (1.0, 12.0, False),
    "objective.gamma": (1e-3, 2e-2, True),
    "objective.label_smoothing": (0.0, 0.3, False),
    "objective.alpha": (0.1, 1.0, False),
    "objective.temperature": (1.0, 20.0, True),
}
"""Ranges (low, high, logarithmic) of what is searched by default, where the recipe and its objective have it."""

_AROUND = 10.0
"""The learning rate is searched from the recipe's own divided by this to that times this."""

_FIXED = ("threat.eps", "threat.scale", "probe.", "validation", "n", "seed")
"""What decides what the score means: other values would not be better, but another question."""


@dataclass(frozen=True)
class Range:
    """The values that one number of a recipe may take."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}{':log' if self.log else ''}"


def search_space(recipe: Recipe, given: Sequence[str] = ()) -> dict[str, Range]:
    """The ranges for a recipe by key, those ``given`` as ``key=low..high[:log]`` in place of the default ones.

    Keys are fields of the recipe, such as ``optimizer.learning_rate``; parameters of the objective are under
    ``objective``. Both ends of every range must make a valid recipe.
    """
    known = _numbers(recipe)
    rate = recipe.optimizer.learning_rate
    space = {"optimizer.learning_rate": Range(rate / _AROUND, rate * _AROUND, log=True)}
    space |= {key: Range(*span) for key, span in _DEFAULTS.items() if key in known}
    for text in given:
        key, range_ = _parsed(text)
        if key.startswith(_FIXED[:3]) or key in _FIXED:
            raise InputError(f"expected a key that leaves the score's meaning as it is, got {key}")
        if key not in known:
            raise unknown_name("key of the search space", key, known)
        space[key] = _typed(key, range_, whole=known[key] is int)
    for key, range_ in space.items():
        for end in (range_.low, range_.high):
            changed(recipe, {key: int(end) if range_.whole else end})
    return space


def changed(recipe: Recipe, values: Mapping[str, float]) -> Recipe:
    """The recipe with other numbers; values that do not make a valid one raise `InputError`."""
    plain = recipe.model_dump(mode="json", exclude_unset=True)
    plain["objective"] = recipe.objective.model_dump(mode="json")
    for key, value in values.items():
        *path, last = ("objective", "params", key.removeprefix("objective.")) if "objective." in key else key.split(".")
        place = plain
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    made = Recipe.of(plain, source="the search space")
    objectives.create(Spec(made.objective.name, made.objective.params))
    return made


def _numbers(recipe: Recipe) -> dict[str, type]:
    """The keys that hold numbers in a recipe, with int or float."""
    found = dict(_fields(recipe, ""))
    objective = objectives.get(recipe.objective.name)
    hints = typing.get_type_hints(objective)
    return found | {f"objective.{f.name}": kind for f in fields(objective) if (kind := _number(hints[f.name]))}


def _fields(model: BaseModel, prefix: str) -> list[tuple[str, type]]:
    found = []
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            found += _fields(value, f"{prefix}{name}.")
        elif kind := _number(field.annotation):
            found.append((prefix + name, kind))
    return found


def _number(hint: Any) -> type | None:
    options = typing.get_args(hint) or (hint,)
    return next((kind for kind in (float, int) if kind in options), None)


def _parsed(text: str) -> tuple[str, Range]:
    key, equals, rest = text.partition("=")
    span, _, scale = rest.partition(":")
    low, dots, high = span.partition("..")
    try:
        range_ = Range(float(low), float(high), log=scale == "log")
    except ValueError:
        range_ = Range(math.nan, math.nan)
    if not (equals and dots and scale in ("", "log") and math.isfinite(range_.low) and math.isfinite(range_.high)):
        raise InputError(f"expected a range as key=low..high or key=low..high:log, got {text!r}")
    if range_.low > range_.high or (range_.log and range_.low <= 0):
        raise InputError(f"expected low <= high, and above zero for a logarithmic range, got {text!r}")
    return key.strip(), range_


def _typed(key: str, range_: Range, *, whole: bool) -> Range:
    if whole and not (range_.low.is_integer() and range_.high.is_integer()):
        raise InputError(f"expected whole numbers for {key}, got {range_}")
    return Range(range_.low, range_.high, range_.log, whole)
