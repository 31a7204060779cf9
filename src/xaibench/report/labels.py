"""Names and words as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher

from xaibench.errors import InputError
from xaibench.registry import Spec

__all__ = ["edited", "method_label", "stage_label"]

_ACRONYMS = {"apgd", "ce", "ddn", "dlr", "fab", "fgsm", "fmn", "jpeg", "lime", "lrp", "pgd", "rise", "shap", "tcav"}


def method_label(spec: str) -> str:
    """A method's name for reading.

    >>> method_label("integrated_gradients:steps=20"), method_label("pgd")
    ('Integrated gradients (steps=20)', 'PGD')
    """
    parsed = Spec.parse(spec)
    params = ", ".join(f"{key}={value}" for key, value in parsed.params.items())
    name = " ".join(word.upper() if word in _ACRONYMS else word for word in parsed.name.split("_"))
    return name[:1].upper() + name[1:] + (f" ({params})" if params else "")


def stage_label(stage: str) -> str:
    """A stage of an ensemble for reading: an attack's spec, or words of the ensemble's own.

    >>> stage_label("apgd_ce:steps=10"), stage_label("margin: 5 corners")
    ('APGD CE (steps=10)', 'Margin: 5 corners')
    """
    try:
        return method_label(stage)
    except InputError:
        return stage[:1].upper() + stage[1:]


def edited(words: Sequence[str], other: Sequence[str]) -> list[bool]:
    """Which words of a text have no counterpart in another version of it.

    >>> edited(["a", "fine", "film"], ["a", "fone", "film"])
    [False, True, False]
    """
    changed = [True] * len(words)
    for block in SequenceMatcher(None, list(words), list(other), autojunk=False).get_matching_blocks():
        changed[block.a : block.a + block.size] = [False] * block.size
    return changed
