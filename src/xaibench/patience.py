"""How long somebody waits for an answer: what takes longer ends between two passes through a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from xaibench.errors import InputError

__all__ = ["OutOfPatienceError", "check_patience", "patience"]

_until: ContextVar[tuple[float, float] | None] = ContextVar("patience", default=None)


class OutOfPatienceError(InputError):
    """An answer took longer than somebody waits for it."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Within this context a model raises `OutOfPatienceError` instead of a pass that begins later than ``seconds``."""
    token = _until.set((time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _until.reset(token)


def check_patience() -> None:
    """Raise `OutOfPatienceError` where the time of the innermost `patience` is over."""
    until = _until.get()
    if until is not None and time.monotonic() > until[0]:
        raise OutOfPatienceError(
            f"expected an answer within {until[1]:g} s, got none: lower the numbers of steps, samples or segments"
        )
