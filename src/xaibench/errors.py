"""Errors that a user can mend: one line saying what was expected and what came."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

__all__ = ["InputError", "UnsupportedError", "first_line", "last_line", "unknown_name"]


class InputError(ValueError):
    """Bad input: the message is one line, fit to be shown as it is; the command line exits with code 2."""


class UnsupportedError(InputError):
    """A method was refused on a model because its answer would be silently wrong or undefined."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened; the name of its type where it says nothing.

    >>> first_line(ValueError("\\n  no such key\\nsee the manual"))
    'no such key'
    """
    return _shortened(next(_lines(error), type(error).__name__))


def last_line(error: BaseException) -> str:
    """As `first_line`, of the last one: what it comes down to where the others say how it came about.

    >>> last_line(ValueError("in user code:\\n    File 'model.py', line 3\\n    LookupError: no such key\\n"))
    'LookupError: no such key'
    """
    return _shortened(([*_lines(error)] or [type(error).__name__])[-1])


def _shortened(line: str, most: int = 160) -> str:
    """A line of no more characters than that, ended at a word by an ellipsis where it is cut.

    >>> _shortened("known: digits-cnn, imdb-cnn, mnist-cnn", 30)
    'known: digits-cnn, imdb-cnn…'
    """
    if len(line) <= most:
        return line
    head = line[:most].rpartition(" ")[0]
    head = head if 2 * len(head) > most else line[: most - 1]  # one long word, such as a path, is cut in itself
    return f"{head.rstrip(' ,;:')}…"


def _lines(error: BaseException) -> Iterator[str]:
    return filter(None, map(str.strip, str(error).splitlines()))


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InputError:
    """Build the error for a name that is not registered, naming the nearest ones.

    >>> str(unknown_name("attack", "pgdd", ["fgsm", "pgd"]))
    "unknown attack 'pgdd'; did you mean 'pgd'? known: fgsm, pgd"
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
    hint = f" did you mean {', '.join(map(repr, near))}?" if near else ""
    return InputError(f"unknown {kind} {name!r};{hint} known: {', '.join(names) or 'none'}")
