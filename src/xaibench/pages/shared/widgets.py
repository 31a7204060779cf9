"""Widgets drawn from a method's fields, so that a new method is in the app as soon as it is registered."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any

import streamlit as st

from xaibench.drawing.labels import name_label
from xaibench.pages.shared.address import choose
from xaibench.pages.shared.limits import MOST_QUERIES, MOST_STEPS
from xaibench.pages.shared.options import choose_one
from xaibench.registry import Registry, Spec

__all__ = ["method_widgets"]

_CEILING = "max_"
"""Fields that begin so end something early, and multiply nothing."""
_LEFT_OUT = ("batch_size",)
"""Fields that say how a method is computed, and change nothing of what comes out."""


def method_widgets(registry: Registry[Any], name: str) -> Spec:
    """A widget for each field of a method that has a plain default; gives the spec of what was chosen.

    The values are in the page's address as ``attack.pgd.steps``. What counts something is bounded, and so is the
    product of all counts: see `xaibench.pages.shared.limits`.
    """
    cls = registry.get(name)
    hints = typing.get_type_hints(cls)
    fields = [
        field
        for field in dataclasses.fields(cls)
        if field.name not in _LEFT_OUT and _plain(hints[field.name], field.default)
    ]
    chosen = {
        field.name: _widget(f"{registry.kind}.{name}.{field.name}", field.name, hints[field.name], field.default)
        for field in fields
    }
    defaults = {field.name: field.default for field in fields}
    within = _bounded(chosen, defaults)
    if within != chosen:
        st.caption(f"Together these counts ask for too much at once, so {_listed(chosen, within)}.")
    return Spec(name, {key: value for key, value in within.items() if value != defaults[key]})


def _bounded(chosen: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with counts that multiply to more than `MOST_QUERIES` and than by default cut down, largest first.

    >>> _bounded({"samples": 1000, "segments": 1000}, {"samples": 32, "segments": 64})
    {'samples': 20, 'segments': 1000}
    """
    counts = [name for name, value in defaults.items() if type(value) is int and not name.startswith(_CEILING)]
    found = dict(chosen)
    most = max(MOST_QUERIES, math.prod(max(1, defaults[name]) for name in counts))
    for name in sorted(counts, key=lambda name: -found[name]):
        others = math.prod(max(1, found[other]) for other in counts if other != name)
        if found[name] * others > most:
            found[name] = max(1, most // others)
    return found


def _listed(chosen: Mapping[str, Any], within: Mapping[str, Any]) -> str:
    return " and ".join(f"{name_label(name)} is {within[name]}" for name in chosen if within[name] != chosen[name])


def _plain(hint: Any, default: object) -> bool:
    number = hint in (bool, int, float) and isinstance(default, int | float)
    return number or typing.get_origin(hint) is typing.Literal


def _widget(key: str, name: str, hint: Any, default: Any) -> Any:
    label = name_label(name)
    if typing.get_origin(hint) is typing.Literal:
        options = typing.get_args(hint)
        return choose_one(st.selectbox, label, options, key=key, default=default)
    if hint is bool:
        return choose(st.toggle, label, key=key, default=default, read=lambda text: text == "True")
    if hint is float:
        return choose(
            st.number_input,
            label,
            key=key,
            default=float(default),
            read=float,
            valid=math.isfinite,
            step=default / 4 or 0.1,
            format="%.4g",
        )
    most = max(default, MOST_QUERIES if name == "queries" else MOST_STEPS)
    value = choose(
        st.number_input,
        label,
        key=key,
        default=default,
        read=int,
        valid=lambda value: value <= most,
        step=1,
        max_value=most,
    )
    return min(value, most)
