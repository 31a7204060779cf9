"""Widgets for choices of a kind, with their values in the address: one of several, some of several, a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import streamlit as st

from xaibench.pages.shared.address import choose

__all__ = ["choose_class", "choose_number", "choose_one", "choose_several", "choose_view"]

T = TypeVar("T")
N = TypeVar("N", int, float)
Widget = Callable[..., Any]
"""Of Streamlit: ``st.selectbox``, or that of a column."""

_NO_CLASS = -1


def choose_one(
    widget: Widget,
    label: str,
    options: Mapping[T, str] | Sequence[T],
    *,
    key: str,
    default: T | None = None,
    write: Callable[[T], str] = str,
    **kwargs: Any,
) -> T:
    """One of the ``options``, at first the ``default``, or else the first of them.

    A mapping gives what people read of each; the address has each as ``write`` puts it. More is as for `choose`.
    """
    if isinstance(options, Mapping):
        kwargs["format_func"] = options.__getitem__
    by_text = {write(option): option for option in reversed(list(options))}
    return choose(
        widget,
        label,
        list(options),
        key=key,
        default=next(iter(options)) if default is None else default,
        read=by_text.__getitem__,
        write=write,
        valid=options.__contains__,
        **kwargs,
    )


def choose_view(label: str, options: Mapping[str, str], *, key: str, default: str | None = None, **kwargs: Any) -> str:
    """One of a few options that are all in sight, of which one is always chosen."""
    return choose_one(st.segmented_control, label, options, key=key, default=default, required=True, **kwargs)


def choose_class(
    widget: Widget, label: str, names: Sequence[str], *, key: str, none: str, but: int | None = None, **kwargs: Any
) -> int | None:
    """The index of a class, ``but`` not this one; None for no class in particular, which people read as ``none``."""
    options = {_NO_CLASS: none} | {index: name for index, name in enumerate(names) if index != but}
    index = choose_one(
        widget, label, options, key=key, write=lambda index: "" if index == _NO_CLASS else names[index], **kwargs
    )
    return None if index == _NO_CLASS else index


def choose_several(
    widget: Widget,
    label: str,
    options: Mapping[T, str] | Sequence[T],
    *,
    key: str,
    default: Sequence[T] = (),
    most: int,
    **kwargs: Any,
) -> list[T]:
    """At most ``most`` of the ``options``, in the order in which they were chosen; the address lists them by commas."""
    if isinstance(options, Mapping):
        kwargs["format_func"] = options.__getitem__
    by_text = {str(option): option for option in options}
    return choose(
        widget,
        label,
        list(options),
        key=key,
        default=list(default),
        read=lambda text: [by_text[part] for part in text.split(",") if part],
        write=lambda chosen: ",".join(map(str, chosen)),
        valid=lambda chosen: all(one in options for one in chosen) and len(chosen) <= most,
        max_selections=most,
        **kwargs,
    )


def choose_number(widget: Widget, label: str, low: N, high: N, *, key: str, default: N, **kwargs: Any) -> N:
    """A number from ``low`` to ``high``, of their type."""
    return choose(
        widget,
        label,
        low,
        high,
        key=key,
        default=default,
        read=type(low),
        valid=lambda value: type(value) is type(low) and low <= value <= high,
        **kwargs,
    )
