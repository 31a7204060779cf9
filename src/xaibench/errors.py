"""Errors that a user can mend: one line saying what was expected and what came."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "UnsupportedError", "first_line", "unknown_name"]


class InputError(ValueError):
    """Bad input: the message is one line, fit to be shown as it is; the command line exits with code 2."""


class UnsupportedError(InputError):
    """A method was refused on a model because its answer would be silently wrong or undefined."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened; the name of its type where it says nothing.

    >>> first_line(ValueError("\\n  no such key\\nsee the manual"))
    'no such key'
    """
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not registered, naming the nearest ones.

    >>> str(unknown_name("attack", "pgdd", ["fgsm", "pgd"]))
    "unknown attack 'pgdd'; did you mean 'pgd'? known: fgsm, pgd"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" did you mean {', '.join(map(repr, near))}?" if near else ""
    return InputError(f"unknown {kind} {name!r};{hint} known: {', '.join(names) or 'none'}")
