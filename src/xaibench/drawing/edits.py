"""Two versions of a text: what was exchanged, and both in one with their differences marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape

__all__ = ["AROUND", "LONG", "changed_words", "exchanged"]

LONG, AROUND = 60, 12
"""Words from which on a text is shown near its changes alone, and how many there are on either side of each."""


def exchanged(words: Sequence[str], other: Sequence[str]) -> list[tuple[str, str]]:
    """What stood in a text, and what stands in its place in another version of it; padding, empty words, is left out.

    >>> exchanged(["a", "fine", "film", ""], ["a", "fone", "film", "too"])
    [('fine', 'fone'), ('', 'too')]
    """
    return [(gone, come) for gone, come in _pieces(words, other) if gone != come]


def changed_words(before: Sequence[str], after: Sequence[str], *, around: int | None = None) -> str:
    """A text after a change, what went out struck and what came in underlined, as HTML; padding is left out.

    With ``around``, of what stayed only as many words before and after each change, and dots for the others.

    >>> "<del" in changed_words(["a", "fine", "film"], ["a", "film"]), changed_words(["a"], ["a"]).count("<ins")
    (True, 0)
    """
    gone = 'style="background:rgba(200,100,10,0.25);text-decoration-thickness:2px"'
    come = 'style="background:rgba(18,110,190,0.25);text-decoration-thickness:2px;font-weight:600"'
    pieces, stretches = [], list(_pieces(before, after))
    for place, (old, new) in enumerate(stretches):
        if old == new:
            pieces.append(escape(_ends(old, around, first=place == 0, last=place == len(stretches) - 1)))
            continue
        pieces += [f"<del {gone}>{escape(old)}</del>"] * bool(old) + [f"<ins {come}>{escape(new)}</ins>"] * bool(new)
    return f'<p style="line-height:1.9;overflow-wrap:anywhere">{" ".join(pieces)}</p>'


def _ends(text: str, around: int | None, *, first: bool, last: bool) -> str:
    """What of a stretch that stayed stands next to changes; the whole without ``around``."""
    words = text.split()
    if around is None or len(words) <= (2 - first - last) * around:
        return text
    return " ".join([*([] if first else words[:around]), "…", *([] if last else words[-around:])])


def _pieces(words: Sequence[str], other: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Stretches of both versions, in order: the same in both, or one in place of the other."""
    old, new = ([word for word in text if word] for text in (words, other))
    for _, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        yield " ".join(old[i:j]), " ".join(new[k:m])
