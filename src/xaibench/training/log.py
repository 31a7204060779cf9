"""`log.jsonl`: a JSON line for each step and each epoch of a run, with no line lost or doubled where it resumes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, Self

from xaibench.errors import InputError
from xaibench.training.checkpoint import saving

__all__ = ["LOG_FILE", "TrainingLog"]

LOG_FILE = "log.jsonl"

_FLUSH_SECONDS = 2.0


class TrainingLog:
    """Appends lines, written in groups; on entry what follows the first ``keep`` bytes is cut off.

    ``also`` gets every line as well. Without a ``path`` nothing is written.
    """

    def __init__(
        self, path: Path | None, *, keep: int = 0, also: Callable[[Mapping[str, Any]], None] | None = None
    ) -> None:
        self._path, self._keep, self._also = path, keep, also
        self._file: BinaryIO | None = None
        self._lines: list[bytes] = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        if self._path is not None:
            with saving(self._path):
                self._file = self._path.open("ab", buffering=0)
                self._file.truncate(min(self._keep, os.fstat(self._file.fileno()).st_size))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with nullcontext() if kind is None else suppress(InputError):
                self.flush()
        finally:
            if self._file is not None:
                self._file.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line, at the latest with the next `flush`."""
        if self._also is not None:
            self._also(line)
        if self._file is None:
            return
        self._lines.append(json.dumps(_rounded(line), allow_nan=False).encode() + b"\n")
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> int:
        """Write what waits, and return the size of the file in bytes."""
        if self._file is None or self._path is None:
            return 0
        with saving(self._path):
            waiting = memoryview(b"".join(self._lines))
            while waiting:
                waiting = waiting[self._file.write(waiting) :]
            self._lines.clear()
            self._flushed = time.monotonic()
            return os.fstat(self._file.fileno()).st_size


def _rounded(line: Mapping[str, Any]) -> dict[str, Any]:
    """Six significant digits are what anybody reads."""
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in line.items()}
