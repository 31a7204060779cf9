"""The process of a job: it waits for its turn, runs the command line, and writes how that ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from xaibench.errors import InputError
from xaibench.files import write_json
from xaibench.jobs.job import read_job
from xaibench.jobs.locks import try_lock

__all__ = ["work"]

_LOOK_SECONDS = 0.25
_PATIENCE = 10.0
"""Seconds from the wish to stop to the end by force."""
_NICE = 10
_CRASHED, _STOPPED = 1, 130


def work(folder: Path) -> None:
    """Do the job of a folder, whose lock this process has inherited."""
    os.nice(_NICE)
    threading.Thread(target=_heed, args=(folder / "stop",), name="heeds stop", daemon=True).start()
    code = _CRASHED
    try:
        turn = _turn(folder)
        write_json(folder / "running.json", {"started": time.time(), "process": os.getpid()})
        os.environ["XAIBENCH_PROGRESS"] = str(folder / "progress.json")
        code = _command(read_job(folder).arguments)
        os.close(turn)
    except KeyboardInterrupt:
        code = _STOPPED
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stdout.flush()  # who reads that it has ended reads its result next
        sys.stderr.flush()
        write_json(folder / "ended.json", {"code": code, "ended": time.time()})


def _command(arguments: tuple[str, ...]) -> int:
    from xaibench.cli.main import run

    return run(arguments)


def _turn(folder: Path) -> int:
    """Wait until no older job waits and fewer than ``XAIBENCH_JOBS`` run; gives the handle that holds the place."""
    try:
        places = max(1, int(os.environ.get("XAIBENCH_JOBS") or 1))
    except ValueError:
        places = 1
    while True:
        if _is_next(folder):
            for place in range(places):
                handle = try_lock(folder.parent / f".place-{place}")
                if handle is not None:
                    return handle
        time.sleep(_LOOK_SECONDS)


def _is_next(folder: Path) -> bool:
    own = read_job(folder)
    for file in folder.parent.glob("[!.]*/job.json"):
        try:
            other = read_job(file.parent)
        except InputError:
            continue
        if other.state == "waiting" and (other.queued, other.id) < (own.queued, own.id):
            return False
    return True


def _heed(wish: Path) -> None:
    """Interrupt this process and those that it started once somebody wishes so; kill them if that does not help."""
    while not wish.exists():
        time.sleep(_LOOK_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGINT)
    time.sleep(_PATIENCE)
    os.killpg(os.getpgrp(), signal.SIGKILL)
