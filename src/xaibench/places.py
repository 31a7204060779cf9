"""The folders that the app reads and writes; nothing outside them can be opened through a page."""

from __future__ import annotations

import os
import re
from pathlib import Path

from xaibench.errors import InputError

__all__ = ["inside", "is_plain", "reports_home", "reports_homes", "runs_home"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def reports_home() -> Path:
    """The folder of reports: ``XAIBENCH_REPORTS_HOME``, or ``reports`` in the working directory."""
    return Path(os.environ.get("XAIBENCH_REPORTS_HOME") or "reports")


def reports_homes() -> tuple[Path, ...]:
    """Where finished reports are looked for: `reports_home`, then those of the checkout that are shipped."""
    return (reports_home(), Path(__file__).resolve().parents[2] / "reports")


def runs_home() -> Path:
    """The folder of running and finished jobs: ``XAIBENCH_RUNS_HOME``, or ``runs`` in the working directory."""
    return Path(os.environ.get("XAIBENCH_RUNS_HOME") or "runs")


def is_plain(name: str) -> bool:
    """Whether a name is letters, digits, dots, dashes and underscores, and begins with a letter or digit.

    >>> is_plain("digits-cnn"), is_plain("../x"), is_plain("module:function")
    (True, False, False)
    """
    return _NAME.fullmatch(name) is not None


def inside(home: Path, name: str) -> Path:
    """The folder or file of this name directly in ``home``; anything else raises `InputError`.

    The name has to be plain, and what it leads to, links followed, has to lie in ``home``.
    """
    if not is_plain(name):
        raise InputError(f"expected a plain name in {home}, got {name!r:.80}")
    path = home / name
    if not path.resolve().is_relative_to(home.resolve()):
        raise InputError(f"expected something that lies in {home}, got {name!r:.80}")
    return path
