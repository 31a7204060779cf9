"""A part of an ensemble."""

from __future__ import annotations

from dataclasses import dataclass

from xaibench.attacks import Attack

__all__ = ["Stage"]


@dataclass(frozen=True)
class Stage:
    """An attack on what the stages before it left standing."""

    label: str
    """The attack's spec, or the ensemble's word for it."""
    attack: Attack
    note: str | None = None
    """What the reader must know to compare it: a loss that was replaced, say."""
