"""Which split a file or a folder holds, by its name."""

from __future__ import annotations

import re

__all__ = ["split_of"]

_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}


def split_of(name: str) -> str | None:
    """The split that a name without its suffix stands for, if any.

    >>> split_of("train-00000-of-00002"), split_of("digits_val"), split_of("table")
    ('train', 'validation', None)
    """
    sharded = re.fullmatch(r"(\w+)-\d{5}-of-\d{5}.*", name)
    if sharded:
        return _WORDS.get(sharded[1].lower(), sharded[1])
    return next((_WORDS[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _WORDS), None)
