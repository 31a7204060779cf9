"""The app as a reader has it: the real server, and a real browser that waits as a reader waits."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, LocatorAssertions, Page, Request, ViewportSize

__all__ = [
    "FLAGS",
    "NARROW",
    "PATIENCE",
    "ROOT",
    "WIDE",
    "Server",
    "expect",
    "fill",
    "find_browser",
    "narrow",
    "open_page",
    "settle",
    "shot",
    "watch",
]

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "artifacts" / "screenshots"
WIDE: ViewportSize = {"width": 1400, "height": 900}
NARROW: ViewportSize = {"width": 420, "height": 900}
"""The windows of all pictures: a desk's and a telephone's."""
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
"""With which Chromium is started: in containers, and without calling home."""
PATIENCE = 90_000
"""Milliseconds that a reader waits for anything on a busy machine; a quiet one needs none of them."""

_SHIPPED = ("digits-cnn", "digits-cnn-robust", "cancer-mlp", "cancer-mlp-robust")
_WITH_DATA = ("imdb-cnn",)
_CALM = 400
"""Milliseconds for which nothing may run before a page counts as drawn: a choice may set off a second run."""

_LAID_OUT = 300
"""Milliseconds in which charts fit themselves to a window of another size."""

_IS_CALM = """calm => {
    const app = document.querySelector('[data-testid="stApp"]');
    const busy = '[data-testid="stSkeleton"], [data-testid="stSpinner"], [data-stale="true"]';
    const waiting = window.asked > (window.answered ?? 0);
    const idle = app && !waiting && app.dataset.testScriptState === 'notRunning'
        && app.dataset.testConnectionState === 'CONNECTED' && !document.querySelector(busy);
    if (!idle) { window.calmSince = undefined; return false; }
    window.calmSince ??= performance.now();
    return performance.now() - window.calmSince > calm;
}"""

_NOTE_QUESTIONS = """(() => {
    const send = WebSocket.prototype.send;
    const heard = new WeakSet();
    WebSocket.prototype.send = function (message) {
        if (!heard.has(this)) {
            heard.add(this);
            this.addEventListener('message', () => { window.answered = performance.now(); });
        }
        window.asked = performance.now();
        return send.call(this, message);
    };
})();"""
"""Notes when a page last asked its server, and was answered: the app looks idle between a click and its answer."""


@dataclass
class Server:
    """``xaibench app`` as a process of its own, working in ``home`` with its ``models``, ``reports`` and ``runs``."""

    home: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _read: int = 0

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://localhost:{self.port}"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def reports(self) -> Path:
        return self.home / "reports"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def log(self) -> Path:
        """What the server printed since the first start."""
        return self.home / "server.log"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make the app, and the command line, work in these folders."""
        homes = {"MODELS": self.models, "REPORTS": self.reports, "RUNS": self.runs}
        return {f"XAIBENCH_{name}_HOME": str(path) for name, path in homes.items()}

    def start(self, timeout: float = 60.0) -> float:
        """Start it and wait until it answers; gives the seconds that took."""
        self.port = self.port or _free_port()
        for folder in (self.models, self.reports, self.runs):
            folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "xaibench", "app", "--no-browser", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = _started(command, self.home, {**os.environ, **self.environment}, log)
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() - began > timeout:
                raise RuntimeError(f"the app did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        return time.monotonic() - began

    def stop(self) -> None:
        """End it as a reader's Ctrl+C would; its jobs go on."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def memory(self) -> float:
        """Resident memory in MB."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    def processor(self) -> float:
        """Processor seconds that it has taken so far."""
        assert self._process is not None
        told = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return sum(map(int, told[11:13])) / os.sysconf("SC_CLK_TCK")  # in user and in system mode

    def news(self) -> str:
        """What it printed since the last time."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        news, self._read = text[self._read :], len(text)
        return news

    def processes(self) -> Iterator[int]:
        """Every process that works in these folders: the server's jobs, while it is stopped."""
        mark = f"XAIBENCH_RUNS_HOME={self.runs}".encode()
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)
            except OSError:  # another user's, or gone meanwhile
                continue

    def end(self) -> None:
        """Stop it, and its jobs with it."""
        self.stop()
        for process in list(self.processes()):
            if process != os.getpid():
                os.kill(process, signal.SIGKILL)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=1) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


def find_browser() -> str | None:
    """The program that ``CHROMIUM`` names, or Debian's Chromium, or what is like it; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def expect(found: Locator) -> LocatorAssertions:
    """Playwright's own, imported when a test runs: without Playwright tests are skipped, not in error."""
    from playwright.sync_api import expect as expected

    return expected(found)


def open_page(page: Page, name: str, **address: str) -> Page:
    """Open a page of the app by name at an address, and wait until it is drawn."""
    path = "" if name == "models" else name
    page.goto(f"/{path}" + (f"?{urlencode(address)}" if address else ""))
    settle(page)
    return page


def settle(page: Page, timeout: float = PATIENCE / 1000) -> None:
    """Wait until nothing runs: the server answered, the script is done, no placeholder stands, and nothing is stale.

    Whether the server answered is known of a page that is watched (`watch`).
    """
    page.evaluate("window.calmSince = undefined")
    page.wait_for_function(_IS_CALM, arg=_CALM, timeout=timeout * 1000, polling=50)


def shot(page: Page, name: str, *, whole: bool = True) -> Path:
    """Keep a picture of the page, for people, as ``artifacts/screenshots/NAME.png``.

    Streamlit scrolls inside the window, so for the ``whole`` page the window grows to what it holds.
    """
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    before = page.viewport_size
    if whole and before:
        height = page.evaluate(
            "Math.max(...['stMain', 'stSidebarContent'].map("
            "id => document.querySelector(`[data-testid=${id}]`)?.scrollHeight ?? 0))"
        )
        page.set_viewport_size({"width": before["width"], "height": min(max(before["height"], height), 6000)})
        page.wait_for_timeout(_LAID_OUT)
    page.screenshot(path=path)
    if whole and before:
        page.set_viewport_size(before)
        page.wait_for_timeout(_LAID_OUT)  # a click on what still moves is lost
    return path


def narrow(page: Page) -> None:
    """Make the window as wide as a telephone."""
    page.set_viewport_size(NARROW)


def fill(home: Path, toy_models: Path) -> None:
    """Put the toy models, and those shipped ones that are quick on their data, into a models home."""
    shipped = _SHIPPED + (_WITH_DATA if os.environ.get("XAIBENCH_DATA_HOME") else ())
    for folder in (*toy_models.iterdir(), *(ROOT / "models" / name for name in shipped)):
        if folder.is_dir() and not folder.name.startswith("."):
            shutil.copytree(folder, home / folder.name)


def watch(page: Page, problems: list[str]) -> None:
    """Note what an empty page's browser will complain about, and when it asks the server."""

    def said(message: ConsoleMessage) -> None:
        # Streamlit looks for its server below the page's own path first, and does not find it there.
        if message.type == "error" and "/_stcore/" not in message.location["url"]:
            problems.append(f"console: {message.text} {message.location['url']}")

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # of a page that the reader left
            problems.append(f"request: {request.url} {request.failure}")

    page.add_init_script(_NOTE_QUESTIONS)
    page.on("console", said)
    page.on("pageerror", lambda error: problems.append(f"script: {error}"))
    page.on("requestfailed", failed)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(command: list[str], home: Path, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
