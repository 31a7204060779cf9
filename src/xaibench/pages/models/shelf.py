"""The models at hand, read from their descriptions alone: no framework is loaded, and a broken one harms no other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from xaibench.card import Card
from xaibench.errors import InputError
from xaibench.homes import WEIGHTS, model_homes, typed_title
from xaibench.places import is_plain

__all__ = ["Entry", "read_shelf"]

_PLAIN = ("distillation", "reconstruction", "standard")
"""Objectives that do not harden."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A model's folder: its ``card``, or why it cannot be used; ``mb`` is the size of its weights."""

    name: str
    folder: Path
    card: Card | None = None
    reason: str = ""
    mb: float = 0.0
    own: str = ""
    """What it was called where it was added through the app; empty for others."""

    @property
    def is_robust(self) -> bool:
        """Whether it was trained with an objective that hardens."""
        objective = {} if self.card is None else self.card.recipe.get("objective")
        name = objective.get("name", "standard") if isinstance(objective, dict) else str(objective or "standard")
        return name not in _PLAIN

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.own or (self.name if self.card is None else self.card.name)


def read_shelf() -> tuple[Entry, ...]:
    """Every folder that holds a model or a part of one, by name; of two of one name the nearer."""
    entries: dict[str, Entry] = {}
    for home in model_homes():
        for folder in sorted(home.iterdir()) if home.is_dir() else ():
            if not folder.name.startswith(".") and folder.name not in entries and _holds_something(folder):
                entries[folder.name] = _read(folder)
    return tuple(entries[name] for name in sorted(entries))


def _holds_something(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.json", *WEIGHTS.values()))


def _read(folder: Path) -> Entry:
    path = folder / "config.json"
    if not is_plain(folder.name):
        return Entry(name=folder.name, folder=folder, reason="expected letters, digits, dots and dashes as its name")
    try:
        stat = path.stat()
        card = _card(str(path), (stat.st_mtime_ns, stat.st_size))
        weights = folder / WEIGHTS[card.framework]
        return Entry(
            name=folder.name, folder=folder, card=card, mb=weights.stat().st_size / 1e6, own=typed_title(folder)
        )
    except InputError as error:
        return Entry(name=folder.name, folder=folder, reason=str(error))
    except OSError as error:
        missing = Path(str(error.filename or path)).name
        return Entry(name=folder.name, folder=folder, reason=f"expected {missing} in it, got {error.strerror}")


@st.cache_data(show_spinner=False, max_entries=500)
def _card(path: str, stamp: tuple[int, int]) -> Card:
    """Read anew when its time or size changes."""
    return Card.read(Path(path))
