"""One memory budget for all explainers: how many points go through a model at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import WeakKeyDictionary

from torch import Tensor

from xaibench.errors import InputError
from xaibench.types import Classifier

__all__ = ["DEFAULT_BUDGET", "memory_budget", "points_at_once", "samples_at_once"]

DEFAULT_BUDGET = 2**30
"""One GiB."""
_CACHED = 32 * 2**20
"""A CPU is fastest while what a pass holds fits its caches, more or less."""
_MOST = 8192
_WORKING = 128 * 2**20
"""More working arrays at once than this save no time."""

_budget: ContextVar[int] = ContextVar("memory budget", default=DEFAULT_BUDGET)
_footprints: WeakKeyDictionary[Classifier, dict[tuple[int, ...], int]] = WeakKeyDictionary()


@contextmanager
def memory_budget(size: int) -> Iterator[None]:
    """Within this context explainers keep passes through a model and working arrays within ``size`` bytes in all.

    They do as far as one point in a pass, and the working arrays of one sample, are within it; the inputs, and results
    in their shape, come on top. Results do not depend on it, but for rounding.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InputError(f"expected a memory budget as a whole number of bytes, at least one, got {size!r}")
    token = _budget.set(size)
    try:
        yield
    finally:
        _budget.reset(token)


def points_at_once(model: Classifier, x: Tensor, *, backward: bool) -> int:
    """How many points like those of ``x`` (n, ...) go through the model in one pass."""
    kept = _footprints.setdefault(model, {})
    shape = tuple(x.shape[1:])
    if shape not in kept:
        kept[shape] = model.footprint(x[:1])
    each = kept[shape] * (3 if backward else 1)
    room = _budget.get() // 2 if model.device.type != "cpu" else min(_budget.get() // 2, _CACHED)
    return max(1, min(_MOST, room // max(1, each)))


def samples_at_once(each: int) -> int:
    """How many samples, or draws, are worked on together, of which each takes ``each`` bytes of working arrays."""
    return max(1, min(_budget.get() // 4, _WORKING) // max(1, each))
