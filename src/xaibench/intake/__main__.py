"""``python -m xaibench.intake STEP FOLDER NAME`` takes a step of `take_in` in a folder, within limits."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from xaibench.errors import InputError
from xaibench.intake.apart import MADE, REFUSAL
from xaibench.intake.limits import HUB_BYTES, HUB_SECONDS, MODEL_BYTES, MODEL_GIGABYTES, MODEL_SECONDS

_LATEST = max(MODEL_SECONDS, HUB_SECONDS) + 30
"""Seconds after which it ends by itself: whoever waits for it may have been killed."""


def main(step: str, folder: Path, name: str) -> int:
    """0, or 1 with the reason written to the folder."""
    limits = {
        resource.RLIMIT_AS: MODEL_GIGABYTES << 30,
        resource.RLIMIT_CPU: 2 * max(MODEL_SECONDS, HUB_SECONDS),
        resource.RLIMIT_FSIZE: HUB_BYTES if step == "download" else 4 * MODEL_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
    signal.alarm(_LATEST)
    try:
        if step == "download":
            from xaibench.intake.download import download

            download(folder)
        else:
            from xaibench.intake.examine import examine

            examine(folder, folder / MADE, name)
    except InputError as error:
        reason = str(error)
    except MemoryError:
        reason = f"expected a model that runs in {MODEL_GIGABYTES} GB, got one that needs more"
    else:
        return 0
    (folder / REFUSAL).write_text(reason.replace(f"{folder}/", ""), encoding="utf-8")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
