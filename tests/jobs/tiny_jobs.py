"""A job that takes a second once frameworks are loaded, and how tests wait for it or end it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from xaibench.jobs import Job, find, start

TINY = (
    *("report", "toy-image", "--n", "24", "--attack", "pgd:steps=3", "--attack", "fgsm", "--samples", "2"),
    *("--minimal", "0", "--corruptions", "0", "--assessed", "0", "--compared", "0", "--manipulated", "0"),
    *("--proofs", "0", "--no-checks"),
)
"""The command line of a report that takes a second once frameworks are loaded."""

BRIEF = ("report", "--no-such-option")
"""One that has ended, in error, before frameworks are loaded."""


def tiny(out: Path, *more: str) -> Job:
    """Start it."""
    return start((*TINY, *more, "--out", str(out)), kind="report", title="Tiny", out=out)


def until(job: Job, holds: Callable[[Job], bool], timeout: float = 60.0) -> Job:
    """The job once something holds of it."""
    end = time.monotonic() + timeout
    while not holds(now := find(job.id)):
        assert time.monotonic() < end, f"{now.state} {now.message}\n{now.log}"
        time.sleep(0.05)
    return now


def ended(job: Job) -> Job:
    """The job once it has ended."""
    return until(job, lambda job: not job.is_alive)


def kill(job: Job) -> None:
    """End the process of a job as a lack of memory does."""
    os.kill(json.loads((job.folder / "running.json").read_text())["process"], signal.SIGKILL)
