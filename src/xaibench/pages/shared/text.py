"""Text from data, models and readers, made safe for Markdown."""

from __future__ import annotations

__all__ = ["plain"]


def plain(text: str) -> str:
    r"""Text that Markdown shows as it is, on one line.

    >>> print(plain("a*b [c](d)"))
    a\*b \[c\]\(d\)
    """
    line = " ".join(text.split())
    return "".join(f"\\{mark}" if mark in r"\`*_{}[]()<>#+-.!|$~:&" else mark for mark in line)
