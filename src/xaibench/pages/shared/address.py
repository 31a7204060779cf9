"""Choices that live in the page's address, so that a view can be sent to somebody, and follow the reader around.

Streamlit's own binding of widgets to the address knows one page only; this one keeps a choice (the model, the sample)
when the reader goes to another page, and lets a link set it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import RerunException

from xaibench.errors import InputError
from xaibench.pages.shared.text import plain, problem

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

__all__ = ["address", "choose", "chosen", "forget", "keep", "miss", "part", "put"]

T = TypeVar("T")
P = ParamSpec("P")

_KEPT, _SHOWN, _WRITTEN, _PAGE = "_address.kept", "_address.shown", "_address.written", "_address.page"
_OPEN, _DEFAULTS = "_address.open", "_address.defaults"
_TOLD, _MISSED, _CUT, _BARE = "_address.told", "_address.missed", "_address.cut", "_address.bare"
_NAMED = 60
"""Characters of a name in the address that are said back."""
_STALE = 1.5
"""Seconds for which a request may still carry an address that has been written anew meanwhile; a reader who goes back
sooner stays."""


@contextmanager
def address(page: str) -> Iterator[None]:
    """Read the address before the page of this name runs, and write after it what was chosen there.

    An address that the reader typed, followed or went back to takes precedence over what was chosen before; what it
    names that is not here is said above the page. One without choices, to which the reader went back on the same page,
    stays so until something is chosen: to write it again would bar the way to the page before.
    """
    state = st.session_state
    kept, told, now = state.setdefault(_KEPT, {}), st.query_params.to_dict(), time.monotonic()
    written: list[tuple[dict[str, str], float]] = state.setdefault(_WRITTEN, [])
    cut = state.pop(_CUT, None)
    ours = [place for place, (_, until) in enumerate(written) if now < until]
    if told and told != cut and told not in [written[place][0] for place in ours]:
        for key, text in told.items():
            kept[key] = text
            state.pop(key, None)
        state[_TOLD], state[_MISSED] = frozenset(told), {}
    state[_BARE] = not told and state.get(_PAGE) == page
    if state.get(_PAGE) != page:  # a widget of the same key on another page would begin at its first option
        for key in {*kept, *state.get(_DEFAULTS, {})}:
            state.pop(key, None)
        state[_PAGE], state[_DEFAULTS], state[_MISSED] = page, {}, {}
    state[_SHOWN], state[_OPEN] = {}, True
    notice = st.empty()
    try:
        yield
    except RerunException:  # cut short: the next run brings the same address, which is no newer than what was chosen
        state[_CUT] = told
        raise
    finally:
        state[_OPEN] = False
        if _CUT not in state:
            _say_missed(notice)
            state[_TOLD] = frozenset()
            _write()


def _say_missed(notice: DeltaGenerator) -> None:
    if missed := st.session_state[_MISSED]:
        names = ", ".join(f"{label} {text[:_NAMED]}" for label, text in missed.values())
        notice.info(plain(f"The address names what is not here: {names}. The page goes on with its own choice."))


def _write() -> None:
    """Show in the address what was chosen, and know it again when it comes back with a request."""
    state, now = st.session_state, time.monotonic()
    shown, written = state[_SHOWN], state[_WRITTEN]
    if state[_BARE] and written and written[-1][0] == shown:
        return
    state[_BARE] = False
    if not written or written[-1][0] != shown:
        written[:] = [(each, min(until, now + _STALE)) for each, until in written[-9:]]
        written.append((dict(shown), float("inf")))
    if st.query_params.to_dict() != shown:
        st.query_params.from_dict(shown)


def part(draw: Callable[P, None]) -> Callable[P, None]:
    """Make a function draw a part of a page that runs alone when its own widgets move, and still write the address.

    What the reader can mend is said in a line: such a part runs out of reach of the router, which says it elsewhere.
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            draw(*args, **kwargs)
        except InputError as error:
            st.error(problem(error))
        if not st.session_state.get(_OPEN, True):
            _write()

    return st.fragment(drawn)


def choose(
    widget: Callable[..., T],
    label: str,
    *args: Any,
    key: str,
    default: T,
    read: Callable[[str], T] = str,  # type: ignore[assignment]
    write: Callable[[T], str] = str,
    valid: Callable[[T], bool] = lambda _: True,
    share: Callable[[T], bool] = lambda _: True,
    sticks: bool = False,
    stated: bool = False,
    **kwargs: Any,
) -> T:
    """A widget whose value is in the address under ``key``, unless it is the ``default`` and not ``stated``.

    What makes a finding (the model, the sample, the method) is ``stated`` even if it is the default, which may be
    another one where, or when, somebody follows the address.

    ``read`` and ``write`` turn the value into text and back; what cannot be read, or is not ``valid`` here, counts as
    the default. What is not fit to ``share``, such as a long text, follows the reader but stays out of the address.

    A widget that nobody moved goes along when its default becomes another one (the customary epsilon of another model).
    One that ``sticks`` (the model, the sample) keeps its value, takes it to other pages even if it is the default, and
    is ``stated``.
    """
    state = st.session_state
    defaults = state.setdefault(_DEFAULTS, {})
    unmoved = not sticks and key in defaults and state.get(key) == defaults[key] != default
    if key not in state or unmoved or not valid(state[key]):
        state[key] = _read(key, label, default, read, valid)
    defaults[key] = default
    # A browser whose connection broke off may not know the value: of a widget that persists it is told again.
    value = widget(label, *args, key=key, persist_state="session", **kwargs)
    _note(key, value, default, write, share=share(value), sticks=sticks, stated=stated)
    return value


def _read(key: str, label: str, default: T, read: Callable[[str], T], valid: Callable[[T], bool]) -> T:
    state = st.session_state
    text = state.setdefault(_KEPT, {}).get(key)
    if text is None:
        return default
    try:
        value = read(text)
        if valid(value):
            return value
    except (ValueError, TypeError, KeyError):
        pass
    if key in state.get(_TOLD, ()):
        state.setdefault(_MISSED, {})[key] = label.partition(":")[0], text
    return default


def _note(
    key: str,
    value: T,
    default: T,
    write: Callable[[T], str],
    *,
    share: bool = True,
    sticks: bool = False,
    stated: bool = False,
) -> None:
    kept, shown = (st.session_state.setdefault(each, {}) for each in (_KEPT, _SHOWN))
    shown.pop(key, None)
    kept.pop(key, None)
    if value != default:
        st.session_state.setdefault(_MISSED, {}).pop(key, None)
    if value != default or sticks:
        kept[key] = write(value)
    if share and (value != default or sticks or stated):
        shown[key] = write(value)


def chosen(key: str, default: str = "") -> str:
    """The text of a choice made on any page, or in the address."""
    return st.session_state.setdefault(_KEPT, {}).get(key, default)


def miss(key: str, label: str) -> None:
    """Say of a choice that has no widget here, if the address names it, that there is nothing of that name."""
    if key in st.session_state.get(_TOLD, ()):
        st.session_state.setdefault(_MISSED, {})[key] = label, chosen(key)


def keep(key: str) -> str:
    """The text of a choice that is made by `put` alone, without a widget: shown in the address unless it is empty."""
    text = chosen(key)
    _note(key, text, "", str)
    return text


def put(**choices: str) -> None:
    """Make choices for the reader, as text: for callbacks of buttons, and links to other pages."""
    for key, text in choices.items():
        st.session_state.setdefault(_KEPT, {})[key] = text
        st.session_state.pop(key, None)


def forget(*keys: str) -> None:
    """Drop choices, so that their widgets begin at their defaults."""
    for key in keys:
        st.session_state.setdefault(_KEPT, {}).pop(key, None)
        st.session_state.pop(key, None)
