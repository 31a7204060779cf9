"""What reaches the terminal: results on standard output, progress and errors on standard error, nothing else."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from xaibench.cli.stages import Stages, show_time

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["ProgressDisplay", "live_line", "live_progress", "print_json", "print_table", "quiet", "say", "show_info"]

_PLAIN_INTERVAL = 20.0
"""Seconds between two plain lines about one thing, where there is no terminal to draw a bar on."""

_WRITE_INTERVAL = 0.25
"""Seconds between two writings of the progress file."""

_PLAIN_WIDTH = 200
"""Columns of a table that goes to a file or a pipe, where folded lines would be in the way."""

_terminal: TextIO | None = None


def _stderr() -> TextIO:
    return _terminal or sys.stderr


def say(line: str) -> None:
    """Print one line for the user on standard error, kept to one line whatever the text holds."""
    print(" ".join(line.split()), file=_stderr(), flush=True)


def print_json(value: Any) -> None:
    """Print a result as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(rows: Sequence[Sequence[object]], *, header: Sequence[str], title: str = "") -> None:
    """Print rows as a table on standard output; columns of numbers are flushed right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None, title_justify="left", show_header=any(header), box=box.SIMPLE_HEAD, pad_edge=False
    )
    for index, name in enumerate(header):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def show_info(info: Mapping[str, Any]) -> str:
    """The extra figures of a progress report on one line.

    >>> show_info({"loss": 0.12345, "accuracy": 0.9876, "epoch": 3})
    'loss 0.1235  accuracy 0.9876  epoch 3'
    """
    return "  ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in info.items()
    )


class ProgressDisplay:
    """Draws what a long function reports: a bar per stage on a terminal, a plain line now and then elsewhere.

    Where ``XAIBENCH_PROGRESS`` names a file, the stages are written there too, for whoever watches the run.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(file=_stderr())
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[info]}", markup=False),
            console=console,
            expand=True,
        )
        self._drawing = console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._spoken: dict[str, float] = {}
        self._finished: dict[str, str] = {}  # the last line about a stage, where it said that it is done
        self._stages = Stages()
        self._file = Path(path) if (path := os.environ.get("XAIBENCH_PROGRESS")) else None
        self._written = -_WRITE_INTERVAL
        self._between = True  # two stages, or before the first: what begins next may say nothing more for minutes

    def __enter__(self) -> ProgressDisplay:
        if self._drawing:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawing:
            self._bars.stop()
        self._write()

    def __call__(self, stage: str, done: int, total: int, info: Mapping[str, Any] | None = None) -> None:
        """Report that ``done`` of ``total`` units of a stage are finished, with figures worth watching."""
        info = info or {}
        left = self._stages.update(
            stage, done, total, show_info(info), resumed=bool(info.get("resumed"))
        ).seconds_left()
        if self._drawing:
            self._draw(stage, done, total, show_info(info))
        else:
            self._speak(stage, done, total, show_info(info), left)
        changed, self._between = done >= total or self._between, done >= total
        if changed or time.monotonic() - self._written >= _WRITE_INTERVAL:
            self._write()

    def _write(self) -> None:
        if self._file is not None:
            self._stages.write(self._file)
            self._written = time.monotonic()

    def _draw(self, stage: str, done: int, total: int, info: str) -> None:
        from rich.markup import escape

        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(escape(stage), total=total, info=info)
        self._bars.update(self._tasks[stage], completed=done, total=total, info=info)

    def _speak(self, stage: str, done: int, total: int, info: str, left: float | None) -> None:
        now = time.monotonic()
        if done < total and now - self._spoken.get(stage, -_PLAIN_INTERVAL) < _PLAIN_INTERVAL:
            return
        line = f"{stage}: {done}/{total} {info}".rstrip()
        if self._finished.get(stage) == line:
            return
        self._spoken[stage] = now
        if done >= total:
            self._finished[stage] = line
        say(line + (f", {show_time(left)} left" if left else ""))


@contextmanager
def live_progress() -> Iterator[ProgressDisplay]:
    """A progress callback for a library function, drawn on standard error while the body runs."""
    with ProgressDisplay() as display:
        yield display


@contextmanager
def live_line() -> Iterator[Callable[[str], None]]:
    """Tells what goes on while the body runs: in a line that changes on a terminal, elsewhere in one now and then."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(file=_stderr())
    if console.is_terminal:
        with console.status("") as status:
            yield lambda text: status.update(escape(text))
        return
    spoken = -_PLAIN_INTERVAL

    def tell(text: str) -> None:
        nonlocal spoken
        if (now := time.monotonic()) - spoken >= _PLAIN_INTERVAL:
            spoken = now
            say(text)

    yield tell


@contextmanager
def quiet(enabled: bool = True) -> Iterator[Path | None]:
    """Keep third-party chatter off the terminal while the body runs, and yield the file that holds it instead.

    Frameworks write to file descriptor 2 from C++ before any logging setting applies, so the descriptor itself is
    turned to a temporary file; `say` and the progress display keep the real one.
    """
    global _terminal  # noqa: PLW0603
    if not enabled:
        yield None
        return
    sys.stderr.flush()
    handle, name = tempfile.mkstemp(prefix="xaibench-", suffix=".log")
    kept = os.dup(2)
    os.dup2(handle, 2)
    os.close(handle)
    _terminal = os.fdopen(kept, "w", encoding="utf-8", errors="replace")
    try:
        yield Path(name)
    finally:
        sys.stderr.flush()
        os.dup2(_terminal.fileno(), 2)
        _terminal.close()
        _terminal = None
