"""A page as PDF, printed by a browser of the Chromium family that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from xaibench.errors import InputError, last_line
from xaibench.files import atomic_path

__all__ = ["find_browser", "print_page"]

_BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
    "msedge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_LIMIT = 120.0
"""Seconds that a browser may take for one page."""


def find_browser() -> str:
    """The browser that prints; `InputError` where there is none."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        raise InputError(
            "expected chromium, chrome or edge on PATH to print a PDF, got none of them; any browser prints index.html"
        )
    return found


def print_page(page: Path, target: Path) -> Path:
    """Print a page to a PDF file and give that; `InputError` where no browser is there or it fails."""
    browser = find_browser()
    with tempfile.TemporaryDirectory(prefix="xaibench-") as profile, atomic_path(target) as printed:
        command = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--no-pdf-header-footer",
            f"--user-data-dir={profile}",
            f"--print-to-pdf={printed}",
            page.resolve().as_uri(),
        ]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.insert(1, "--no-sandbox")  # Chromium refuses to start as root with it; the page is this program's
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"expected a PDF from {browser}, got: {last_line(error)}") from None
        if not printed.stat().st_size:
            raise InputError(f"expected a PDF from {browser}, got: {last_line(ValueError(done.stderr))}")
    return target
