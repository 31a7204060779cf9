"""Errors that a user can mend: one line saying what was expected and what came."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "UnsupportedError", "unknown_name"]


class InputError(ValueError):
    """Bad input: the message is one line, fit to be shown as it is; the command line exits with code 2."""


class UnsupportedError(InputError):
    """A method was refused on a model because its answer would be silently wrong or undefined."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not registered, naming the nearest ones.

    >>> str(unknown_name("attack", "pgdd", ["fgsm", "pgd"]))
    "unknown attack 'pgdd'; did you mean 'pgd'? known: fgsm, pgd"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" did you mean {', '.join(map(repr, near))}?" if near else ""
    return InputError(f"unknown {kind} {name!r};{hint} known: {', '.join(names) or 'none'}")
