"""Widgets drawn from a method's fields, so that a new method is in the app as soon as it is registered."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

import streamlit as st

from xaibench.registry import Registry, Spec
from xaibench.report.labels import name_label

__all__ = ["method_widgets"]


def method_widgets(registry: Registry[Any], name: str) -> Spec:
    """A widget for each field of a method that has a plain default; gives the spec of what was chosen."""
    cls = registry.get(name)
    hints = typing.get_type_hints(cls)
    chosen = {
        field.name: _widget(f"{registry.kind}.{name}.{field.name}", field.name, hints[field.name], field.default)
        for field in dataclasses.fields(cls)
        if _plain(hints[field.name], field.default)
    }
    defaults = {field.name: field.default for field in dataclasses.fields(cls)}
    return Spec(name, {key: value for key, value in chosen.items() if value != defaults[key]})


def _plain(hint: Any, default: object) -> bool:
    number = hint in (bool, int, float) and isinstance(default, int | float)
    return number or typing.get_origin(hint) is typing.Literal


def _widget(key: str, name: str, hint: Any, default: Any) -> Any:
    label = name_label(name)
    if typing.get_origin(hint) is typing.Literal:
        options = typing.get_args(hint)
        return st.selectbox(label, options, index=options.index(default), key=key)
    if hint is bool:
        return st.toggle(label, default, key=key)
    return st.number_input(label, value=hint(default), step=1 if hint is int else None, key=key)
