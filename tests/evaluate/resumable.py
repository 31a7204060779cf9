"""Runs in processes that are killed: ``resumable.py half OUT SHARDS`` and ``resumable.py often OUT KILLS``."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xaibench.evaluate import Plan, run

PLAN = Plan(
    model="factories:digits",
    data="digits",
    n=60,
    batch_size=20,
    samples=2,
    attacks=("fgsm", "pgd:steps=3"),
    eps=0.1,
    checks=False,
    proofs=4,
    minimal=0,
    corruptions=0,
)

WHOLE = PLAN.model_copy(
    update={"curve": (0.05,), "minimal": 5, "corruptions": 4, "n": 12, "batch_size": 6, "checks": True}
)
"""A plan with every stage of a run."""


def half(out: str, shards: int) -> None:
    """Run the plan; end by SIGKILL when so many shards are done, inside the work for the next one."""
    done = set()

    def progress(stage: str, finished: int, total: int, info: Mapping[str, Any]) -> None:
        if finished:
            done.add((stage, finished))
        if len(done) == shards:
            kill_in_next_write()

    run(PLAN, out=out, progress=progress)


def kill_in_next_write() -> None:
    """Make the next shard's file end half-written."""
    from safetensors import torch as safetensors

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    safetensors.save_file = half  # type: ignore[assignment]


def often(out: str, kills: int) -> None:
    """Make one whole report, and others in ``out/0``, ``out/1``, ..., killed at a random moment and started again."""
    from xaibench.report import run as report

    def child(folder: Path) -> int:
        process = os.fork()
        if process == 0:
            report(WHOLE, out=folder)
            os._exit(0)
        return process

    report(WHOLE, out=Path(out) / "warm")
    start = time.perf_counter()
    assert os.waitpid(child(Path(out) / "whole"), 0)[1] == 0
    seconds, moments, done = time.perf_counter() - start, random.Random(0), 0
    while done < kills:
        folder = Path(out) / str(done)
        process = child(folder)
        time.sleep(moments.random() * seconds)
        os.kill(process, signal.SIGKILL)
        killed = os.WIFSIGNALED(os.waitpid(process, 0)[1])
        print(done, killed, sorted(path.name for path in folder.rglob("*.safetensors")), flush=True)
        assert os.waitpid(child(folder), 0)[1] == 0
        done += killed


if __name__ == "__main__":
    {"half": half, "often": often}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
