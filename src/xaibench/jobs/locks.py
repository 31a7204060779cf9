"""Locks that last as long as the process that holds them, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

__all__ = ["is_locked", "try_lock"]


def try_lock(path: Path) -> int | None:
    """A handle that holds the lock of a file until it is closed; None where another holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file; those who ask at the same time do not see each other."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
