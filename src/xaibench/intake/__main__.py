"""``python -m xaibench.intake FOLDER NAME`` looks at a model in a folder, within limits; see `take_in`."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from xaibench.errors import InputError
from xaibench.intake.door import MADE, REFUSAL
from xaibench.intake.limits import MODEL_BYTES, MODEL_GIGABYTES, MODEL_SECONDS


def main(folder: Path, name: str) -> int:
    """0, or 1 with the reason written to the folder."""
    limits = {
        resource.RLIMIT_AS: MODEL_GIGABYTES << 30,
        resource.RLIMIT_CPU: 2 * MODEL_SECONDS,
        resource.RLIMIT_FSIZE: 4 * MODEL_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))
    try:
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
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
