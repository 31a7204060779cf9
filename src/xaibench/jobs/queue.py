"""Starting, finding, stopping and resuming jobs."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xaibench.errors import InputError
from xaibench.files import write_json
from xaibench.jobs.forecast import Shape
from xaibench.jobs.job import LONGEST_TITLE, Job, command_line, read_job
from xaibench.jobs.locks import try_lock
from xaibench.places import inside, runs_home

__all__ = ["MOST_KEPT", "MOST_WAITING", "find", "jobs", "remove", "resume", "start", "stop"]

MOST_WAITING = 8
"""Jobs that may wait for their turn: what comes on top would not begin for hours."""

MOST_KEPT = 200
"""Ended jobs whose folders are kept; the oldest go first. Their results lie elsewhere, and stay."""

_GOES_ON = ("harden", "train")
"""Commands that go on from a checkpoint when told to; the others find their finished shards by themselves."""

_KIND = re.compile(r"[a-z][a-z-]{0,29}")
_OWN_NAME = re.compile(rf"\d{{8}}-\d{{6}}-{_KIND.pattern}-[0-9a-f]{{8}}")
_LOOK_SECONDS = 0.05
_EXIT_SECONDS = 30.0
"""How long a process may take to end after it has written how its command ended."""


@contextmanager
def _writing() -> Iterator[None]:
    """Turn what hinders writing among the runs into an `InputError`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"the folder of runs, {runs_home()}, cannot be written: {error.strerror or error}") from None


@_writing()
def start(
    arguments: Sequence[str],
    *,
    kind: str,
    title: str,
    out: Path | None = None,
    expected: float | None = None,
    like: Sequence[Shape] = (),
) -> Job:
    """Run a command line, as after ``xaibench``, in a process of its own that outlives this one.

    ``kind`` groups jobs of a page, ``title`` is for people, ``out`` the folder that the command writes to, ``expected``
    how many seconds it is thought to take, if anybody knows, and ``like`` the shapes of earlier runs: of the same model
    where something is expected, else of others. One job runs at a time, or as many as ``XAIBENCH_JOBS``
    says, the others wait in order; of a command line that waits or runs already, that job is given. Raises `InputError`
    for a command that may not run as a job, where `MOST_WAITING` wait already, and where nothing can be written.
    """
    arguments = command_line(arguments)
    if not _KIND.fullmatch(kind):
        raise InputError(f"expected a kind in small letters, got {kind!r:.80}")
    now = time.time()
    with _starting():
        for job in _all():
            if job.is_alive and not job.stopping and job.arguments == arguments:
                return job
        _check_room()
        _prune()
        folder = runs_home() / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{kind}-{secrets.token_hex(4)}"
        folder.mkdir(parents=True)
        told = {
            "kind": kind,
            "title": " ".join(title.encode(errors="replace").decode().split())[:LONGEST_TITLE],
            "arguments": list(arguments),
            "out": None if out is None else str(out),
            "created": now,
            "expected": expected,
            "like": [dict(shape) for shape in like],
        }
        try:
            with _locked(folder) as lock:
                _launch(folder, lock, {**told, "queued": now})
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return read_job(folder)


def jobs(kind: str | None = None) -> tuple[Job, ...]:
    """All jobs, or those of a kind, the newest first."""
    found = [job for job in _all() if kind is None or job.kind == kind]
    return tuple(sorted(found, key=lambda job: (job.created, job.id), reverse=True))


def find(name: str) -> Job:
    """A job by its id; raises `InputError` where there is none."""
    return read_job(inside(runs_home(), name))


@_writing()
def stop(job: Job) -> None:
    """Ask a job to stop, as Ctrl-C does: what is finished of it stays. After 10 s it is ended by force."""
    if find(job.id).is_alive:
        (job.folder / "stop").touch()


@_writing()
def resume(job: Job) -> Job:
    """Run the command of an ended job again: it goes on from what it had finished.

    Its process may be about to end still, and is waited for. Raises `InputError` for a job that is alive, and where
    `MOST_WAITING` others wait already.
    """
    with _locked(find(job.id).folder) as lock, _starting():
        now = find(job.id)
        _check_room(besides=now.id)
        for name in ("running.json", "ended.json", "progress.json", "stop"):
            (now.folder / name).unlink(missing_ok=True)
        arguments = [argument for argument in now.arguments if argument != "--resume"]
        if arguments[0] in _GOES_ON and now.out is not None and (now.out / ".training").is_dir():
            arguments.append("--resume")
        told = {
            "kind": now.kind,
            "title": now.title,
            "arguments": arguments,
            "out": None if now.out is None else str(now.out),
            "created": now.created,
            "expected": None if now.expected is None else max(0.0, now.expected - now.seconds),
            "like": [dict(shape) for shape in now.like],
        }
        _launch(now.folder, lock, {**told, "queued": time.time()})
    return read_job(now.folder)


@_writing()
def remove(job: Job) -> None:
    """Forget an ended job; what it wrote to ``out`` stays."""
    with _starting():
        if find(job.id).is_alive:
            raise InputError("expected a run that has ended, got one that has not: stop it first")
        shutil.rmtree(inside(runs_home(), job.id))


def _all() -> list[Job]:
    found = []
    for file in runs_home().glob("[!.]*/job.json"):
        try:
            found.append(find(file.parent.name))
        except InputError:  # removed meanwhile, or no job's
            continue
    return found


def _check_room(besides: str = "") -> None:
    waiting = sum(job.state == "waiting" and job.id != besides for job in _all())
    if waiting >= MOST_WAITING:
        raise InputError(f"{waiting} runs wait for their turn already: stop one, or come back when they have finished")


def _prune() -> None:
    ended = sorted((job for job in _all() if not job.is_alive), key=lambda job: job.created)
    for job in ended[: max(0, len(ended) - MOST_KEPT)]:
        shutil.rmtree(job.folder, ignore_errors=True)
    for folder in runs_home().iterdir():  # one start at a time: those without a job were cut short
        if _OWN_NAME.fullmatch(folder.name) and not (folder / "job.json").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _launch(folder: Path, lock: int, told: dict[str, object]) -> None:
    """Start the process of a job; it inherits the lock of the folder, so that it counts as alive from the start."""
    write_json(folder / "job.json", told)
    with open(folder / "result", "wb") as result, open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "xaibench.jobs", str(folder.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=result,
            stderr=log,
            start_new_session=True,
            pass_fds=(lock,),
        )
    threading.Thread(target=process.wait, name=f"reaps {folder.name}", daemon=True).start()


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """A handle that holds the lock of a job's folder, once the process of an ended job has let go of it.

    Whoever only looks at a lock holds it for no time. A job that is alive raises `InputError`.
    """
    until = time.monotonic() + _EXIT_SECONDS
    while True:
        if (folder / "job.json").exists() and (now := read_job(folder)).is_alive:
            raise InputError(f"expected a run that has ended, got one that is {now.state}")
        if (handle := try_lock(folder / "lock")) is not None:
            break
        if time.monotonic() > until:
            raise InputError("expected a run that has ended, got one whose process is still there: try again later")
        time.sleep(_LOOK_SECONDS)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _starting() -> Iterator[None]:
    """One process and thread at a time starts, resumes or removes jobs."""
    home = runs_home()
    home.mkdir(parents=True, exist_ok=True)
    with open(home / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
