"""Results that are kept for all sessions, the latest used ones, where a cached function will not do."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Kept"]

T = TypeVar("T")


class Kept(Generic[T]):
    """At most ``most`` results by key; the one that nobody asked for the longest goes first.

    Unlike a cached function it lets the computation draw on the page while it runs.

    >>> kept: Kept[int] = Kept(2)
    >>> for key in "abc":
    ...     _ = kept.put(key, ord(key))
    >>> kept.get("a"), kept.get("c")
    (None, 99)
    """

    def __init__(self, most: int) -> None:
        self._most, self._found, self._lock = most, OrderedDict[Hashable, T](), threading.Lock()

    def get(self, key: Hashable) -> T | None:
        """A result, or None."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def put(self, key: Hashable, value: T) -> T:
        """Keep a result, and give it back."""
        with self._lock:
            self._found[key] = value
            self._found.move_to_end(key)
            while len(self._found) > self._most:
                self._found.popitem(last=False)
        return value
