"""Recipes as TOML text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["to_toml"]


def to_toml(values: Mapping[str, Any], *, heading: str = "") -> str:
    """TOML of nested mappings of numbers, strings, truth values and lists; None is left out.

    ``heading`` becomes comments above.

    >>> print(to_toml({"name": "a", "optimizer": {"learning_rate": 0.1}, "init": None}), end="")
    name = "a"
    <BLANKLINE>
    [optimizer]
    learning_rate = 0.1
    """
    comments = [f"# {line}" for line in heading.splitlines()]
    return "\n".join([*comments, *_lines(values, "")]) + "\n"


def _lines(values: Mapping[str, Any], path: str) -> list[str]:
    plain = {key: value for key, value in values.items() if value is not None and not isinstance(value, Mapping)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in values.items():
        if isinstance(value, Mapping):
            inner = f"{path}.{_key(key)}" if path else _key(key)
            lines += ["", f"[{inner}]", *_lines(value, inner)]
    return lines


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    # JSON's escapes of strings are all TOML's too, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
