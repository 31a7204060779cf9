"""Text from data, models and readers, made safe for Markdown."""

from __future__ import annotations

import inspect
import re

__all__ = ["meaning", "plain", "problem"]

_MARKS = frozenset(r"\`*_{}[]()<>#+-.!|$~:&")
_JOINER = "\u2060"
"""Takes no room; put where an address, an icon's name or a shortcut would be known by, so that none is made of it."""
_KNOWN_BY = re.compile(r":(?=\S)|www(?=\.)|@", re.IGNORECASE)
_FOLDERS = re.compile(r"(?<![\w.~/])~?/(?:[^\s/'\"]+/)+")
"""The folders of a path that begins at the root."""


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line.

    >>> print(plain("a*b [c](d)"))
    a\*b \[c\]\(d\)
    >>> plain("a@b"), plain("www.c"), plain("http://d")
    ('a@\u2060b', 'www\u2060\\.c', 'http\\:\u2060//d')
    """
    line = _KNOWN_BY.sub(lambda found: found[0] + _JOINER, " ".join(text.split()))
    return "".join(f"\\{mark}" if mark in _MARKS else mark for mark in line)


def meaning(method: object) -> str:
    """What a method is, for Markdown: the first paragraph of its docstring, without marks.

    >>> class Blur:
    ...     '''The first of ``steps`` ever wider
    ...     Gaussian blurs
    ...
    ...     Dodge and Karam, 2016.'''
    >>> print(meaning(Blur))
    The first of steps ever wider Gaussian blurs
    """
    first = (inspect.getdoc(method) or "").partition("\n\n")[0]
    return plain(first.replace("`", "").replace("*", ""))


def problem(error: object) -> str:
    r"""What went wrong, for Markdown: as it is, but without the folders in which files lie on this machine.

    >>> print(problem("expected a report in /home/someone/reports/x, got 1/2"))
    expected a report in x, got 1/2
    """
    return plain(_FOLDERS.sub("", str(error)))
