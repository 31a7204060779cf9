"""A run in a process of its own that kills itself in the middle: ``python resumable.py OUT SHARDS``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xaibench.evaluate import Plan, run

PLAN = Plan(
    model="factories:digits", data="digits", n=60, batch_size=20, samples=2, attacks=("fgsm", "pgd:steps=3"), eps=0.1
)


def main(out: str, shards: int) -> None:
    """Run the plan; end by SIGKILL when so many shards are done, inside the work for the next one."""
    done = 0

    def progress(stage: str, finished: int, total: int, info: Mapping[str, Any]) -> None:
        nonlocal done
        done += 1
        if done == shards:
            kill_in_next_write()

    run(PLAN, out=out, progress=progress)


def kill_in_next_write() -> None:
    """Make the next shard's file end half-written."""
    from safetensors import torch as safetensors

    def half(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

    safetensors.save_file = half  # type: ignore[assignment]


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
