"""Steps of taking a model in, each run by a process of its own that ends after a while, with all that it started."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from xaibench.errors import InputError
from xaibench.intake.limits import MEGABYTE
from xaibench.intake.request import REPOSITORY

__all__ = ["MADE", "REFUSAL", "SOURCE", "Step", "run_apart"]

Step = Literal["download", "examine"]
"""``download`` asks the Hub and reads no model; ``examine`` reads it, with the client of the Hub switched off."""

MADE: Final = "made"
"""The folder that an examination leaves: the model's own."""
REFUSAL: Final = "refused.txt"
"""Says why a step refused."""
SOURCE: Final = "source.json"
"""Says where a downloaded model came from, and how many bytes it has."""

_PASSED_ON = r"PATH|HOME|LANG|LC_\w+|TMPDIR|VIRTUAL_ENV|PYTHONPATH|OMP_\w+|TF_\w+|XAIBENCH_DATA_HOME"
_TO_THE_NETWORK = r"HF_ENDPOINT|(HTTPS?|ALL|NO)_PROXY|(https?|all|no)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE"
_ENDED_BADLY: dict[Step, str] = {
    "download": "the model could not be downloaded: try again later",
    "examine": "the model could not be looked at: it is damaged, or needs more memory than an added model may",
}
_LOOK_SECONDS = 0.5


def run_apart(step: Step, folder: Path, name: str, *, seconds: float, tell: Callable[[str], None]) -> None:
    """Run a step on the folder where a model ``name`` is put aside; `InputError` where it refuses or takes too long."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "xaibench.intake", step, str(folder), name],
        cwd=folder,
        env=_environment(step, folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + seconds
    try:
        while (left := until - time.monotonic()) > 0:
            tell(_going_on(step, folder, left))
            try:
                code = process.wait(min(_LOOK_SECONDS, left))
                break
            except subprocess.TimeoutExpired:
                continue
        else:
            raise InputError(f"expected a model that takes at most {seconds:g} s to {step}, got one that takes longer")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    refusal = folder / REFUSAL
    if refusal.is_file():
        raise InputError(refusal.read_text(encoding="utf-8"))
    made = folder / (f"{MADE}/config.json" if step == "examine" else SOURCE)
    if code != 0 or not made.is_file():
        raise InputError(_ENDED_BADLY[step])


def _environment(step: Step, folder: Path) -> dict[str, str]:
    passed = re.compile(f"{_PASSED_ON}|{_TO_THE_NETWORK}" if step == "download" else _PASSED_ON)
    environment = {key: value for key, value in os.environ.items() if passed.fullmatch(key)}
    if home := environment.get("XAIBENCH_DATA_HOME"):
        environment["XAIBENCH_DATA_HOME"] = str(Path(home).resolve())
    environment |= {"HF_HOME": str(folder / "cache"), "HF_HUB_DISABLE_XET": "1", "CUDA_VISIBLE_DEVICES": ""}
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return environment if step == "download" else {**environment, "HF_HUB_OFFLINE": "1"}


def _going_on(step: Step, folder: Path, left: float) -> str:
    """What a step does, with how much is left: of the download in bytes, of all else in time."""
    if step == "examine":
        return f"Trying and measuring it, for at most {left:.0f} s more"
    try:
        size = json.loads((folder / SOURCE).read_text(encoding="utf-8"))["bytes"]
    except (OSError, ValueError):
        return "Asking the Hub for it"
    return f"Downloading it: {min(_bytes_below(folder / REPOSITORY), size) / MEGABYTE:.0f} of {size / MEGABYTE:.0f} MB"


def _bytes_below(folder: Path) -> int:
    """Bytes of the files below a folder that another process writes to: some may be gone before they are measured."""
    total = 0
    try:
        for path in folder.rglob("*"):
            total += path.stat().st_size if path.is_file() else 0
    except OSError:
        pass
    return total
