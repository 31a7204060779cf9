"""A job as its folder tells it.

The folder holds ``job.json`` (what to do), ``lock`` (held by the process for as long as it lives), ``running.json``
(when it got its turn), ``progress.json``, ``result`` and ``log`` (standard output and error), ``stop`` (somebody asked
for it) and ``ended.json`` (the exit code). Nothing depends on process ids, which are given out again.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xaibench.cli.stages import LAST_MOMENT, Stage, read_stages
from xaibench.errors import InputError
from xaibench.jobs.forecast import Forecast, Shape, ahead, forecast
from xaibench.jobs.locks import is_locked

__all__ = ["ALIVE", "LONGEST_TITLE", "Job", "State", "command_line", "read_job"]

State = Literal["waiting", "running", "finished", "failed", "stopped", "interrupted"]

ALIVE = ("waiting", "running")
"""The states in which a job has a process."""

COMMANDS = ("compare", "compress", "evaluate", "harden", "rank-explainers", "report", "search", "verify")
"""The commands that may run as jobs."""

LONGEST_TITLE = 200

_INTERRUPTED = 130
_ERROR = "xaibench: error: "
_LONGEST_MESSAGE = 400
_TAIL = 20_000
"""Bytes at the end of a log that its last error is looked for in."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command line, and how it stood when it was read.

    ``out`` is the folder that it writes to, if any; ``created`` and ``queued`` are seconds since the epoch, ``seconds``
    how long it has run or ran, ``expected`` how long it was thought to take when it began, if anybody knew; ``like``
    are the shapes of earlier runs, of the same model where something was expected, else of others. ``message`` is one
    line: what went wrong, or the first line of the result. ``stopping`` says that it was asked to stop and has not done
    so yet.
    """

    id: str
    kind: str
    title: str
    arguments: tuple[str, ...]
    out: Path | None
    folder: Path
    created: float
    queued: float
    state: State
    stages: tuple[Stage, ...] = ()
    message: str = ""
    seconds: float = 0.0
    stopping: bool = False
    expected: float | None = None
    like: tuple[Shape, ...] = ()

    @property
    def is_alive(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ALIVE

    @property
    def seconds_left(self) -> float | None:
        """How long the stage that runs will still take; None while that is unknown, and where none runs.

        Stages to come are not in it: nobody knows before how long they take.
        """
        stage = self.stage
        return stage.seconds_left() if stage is not None and self.state == "running" else None

    @property
    def left(self) -> Forecast | None:
        """How long the whole of it will still take: by what its stages took, else by what was expected at first.

        None where neither tells, and where it has taken longer than was expected.
        """
        if self.state != "running":
            return None
        found = forecast(self.stages, self.like, others=self.expected is None, now=time.time())
        if found is None and self.expected is not None and self.seconds < self.expected:
            return Forecast(self.expected - self.seconds, self.expected - self.seconds)
        return found

    @property
    def most_stages(self) -> int | None:
        """How many stages it has at most, by earlier runs; None where there are none."""
        return max((len(self.stages) + len(ahead(self.stages, shape)) for shape in self.like), default=None)

    @property
    def stage(self) -> Stage | None:
        """The stage that is under way or was when it ended; None before the first and between two."""
        under_way = [stage for stage in self.stages if not stage.is_done]
        return max(under_way, key=lambda stage: stage.changed, default=None)

    @property
    def result(self) -> str:
        """What the command printed on standard output."""
        return _text(self.folder / "result")

    @property
    def log(self) -> str:
        """The end of what it printed on standard error."""
        return _text(self.folder / "log")[-_TAIL:]


def command_line(told: Any) -> tuple[str, ...]:
    """Arguments, as after ``xaibench``, that may run as a job; any others raise `InputError`."""
    if not isinstance(told, list | tuple) or not told or told[0] not in COMMANDS:
        raise InputError(f"expected one of the commands {', '.join(COMMANDS)}, got {told!r:.80}")
    return tuple(map(_words, told))


def read_job(folder: Path) -> Job:
    """Read a job from its folder; raises `InputError` where there is none.

    Of records that are damaged as much is believed as can be read: no folder keeps others from being listed.
    """
    try:
        told = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        given: dict[str, Any] = {
            "kind": _words(told["kind"]),
            "title": _words(told["title"])[:LONGEST_TITLE],
            "arguments": command_line(told["arguments"]),
            "out": None if told["out"] is None else Path(_words(told["out"])),
            "created": _moment(told["created"]),
            "queued": _moment(told["queued"]),
            "expected": _known_moment(told.get("expected")),
            "like": _shapes(told.get("like")),
        }
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        raise InputError(f"expected a run in {folder}, got none") from None
    held = is_locked(folder / "lock")
    running, ended = _json(folder / "running.json"), _json(folder / "ended.json")
    stages = read_stages(folder / "progress.json")
    state = _state(folder, held, running, ended)
    since, until = _known_moment(running.get("started")), _known_moment(ended.get("ended"))
    if since is None:
        seconds = 0.0
    elif until is None:
        seconds = (time.time() if held else max((stage.changed for stage in stages), default=since)) - since
    else:
        seconds = until - since
    return Job(
        id=folder.name,
        folder=folder,
        state=state,
        stages=stages,
        message=_message(folder, state),
        seconds=max(0.0, seconds),
        stopping=state in ALIVE and (folder / "stop").exists(),
        **given,
    )


def _state(folder: Path, held: bool, running: dict[str, Any], ended: dict[str, Any]) -> State:
    if held and not ended:
        return "running" if running else "waiting"
    code = ended.get("code")
    if code == 0:
        return "finished"
    if code == _INTERRUPTED or (code is None and (folder / "stop").exists()):
        return "stopped"
    return "interrupted" if code is None else "failed"


def _message(folder: Path, state: State) -> str:
    if state == "finished":
        lines = [line for line in _text(folder / "result").splitlines() if line.strip()]
        return " ".join(lines[0].split())[:_LONGEST_MESSAGE] if lines and lines[0] != "{" else ""
    if state == "failed":
        lines = [line for line in _text(folder / "log")[-_TAIL:].splitlines() if line.strip()]
        errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
        return (errors or lines or ["it ended without saying why"])[-1][:_LONGEST_MESSAGE]
    if state == "interrupted":
        return "its process ended at once: the machine was restarted, or memory ran out"
    return ""


def _words(told: Any) -> str:
    """Text that can be written and shown; what is none raises `InputError`."""
    if not isinstance(told, str) or "\0" in told or told != told.encode(errors="replace").decode():
        raise InputError(f"expected text without NUL characters and halves of characters, got {told!r:.80}")
    return told


def _moment(told: Any) -> float:
    """Seconds since the epoch, or a span of seconds; what is none raises `ValueError`."""
    if type(told) not in (int, float) or not 0 <= told <= LAST_MOMENT:
        raise ValueError(f"expected a moment from 0 to {LAST_MOMENT:g}, got {told!r:.80}")
    return float(told)


def _known_moment(told: Any) -> float | None:
    try:
        return _moment(told)
    except ValueError:
        return None


def _shapes(told: Any) -> tuple[Shape, ...]:
    try:
        return tuple({str(name): _moment(took) for name, took in one.items()} for one in told)
    except (TypeError, ValueError, AttributeError):
        return ()


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
