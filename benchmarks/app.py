"""How long a reader of the app waits: first pages, the first minute, and reruns that should compute nothing.

    python benchmarks/app.py [--rounds 5]

Starts the app with some shipped models in folders of its own, and reads it in Chromium. Seconds on the wall are the
reader's, until nothing moves on the page (0.4 s of calm count in them); processor seconds are the server's, which other
work on the machine changes less. A slider that does not concern what a page computes is moved back and forth, and its
rerun is told beside the first draw of the same page. Models and Attack are drawn in the first minute, and their rows
say so: the first of those is not a fresh server's. Without Playwright and a browser nothing is measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "browser"))

from driving import FLAGS, WIDE, Server, fill, find_browser, open_page, settle

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PAGES = ("explain", "attack", "robustness", "explanations", "compare", "harden", "reports")
OPENED = ("models", "attack")
"""Pages that the first minute has opened before."""
SLIDER = ("explain", "Opacity of the maps")
"""A page, and a slider on it that changes nothing that is computed."""


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of each rerun and warm page; medians are printed")
    rounds = parser.parse_args().rounds
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("Playwright is not installed: pip install 'xaibench[browser]'")
        return
    program = find_browser()
    if not program:
        print("no Chromium: install it, or name one in CHROMIUM")
        return
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = Server(Path(home))
        (nothing := Path(home) / "toys").mkdir()
        fill(server.models, nothing)
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        try:
            began = time.monotonic()
            print(f"{'server answers':34}{server.start():7.2f} s")
            page = browser.new_context(base_url=server.url, viewport=WIDE).new_page()
            first_minute(page, began)
            page.wait_for_timeout(30_000)  # until what is loaded in the background is there
            measure(server, page, rounds)
            print(f"{'memory of the server':34}{server.memory():7.0f} MB")
        finally:
            browser.close()
            server.end()


def first_minute(page: Page, began: float) -> None:
    """A new reader's way on a server that was just started, from the command on."""
    page.goto("/")
    page.get_by_test_id("stMain").get_by_role("heading").first.wait_for()
    print(f"{'... first page, fresh server':34}{time.monotonic() - began:7.2f} s")
    page.get_by_test_id("stSidebarNav").get_by_text("Attack", exact=True).click()
    page.get_by_text("makes it say").wait_for(timeout=120_000)
    print(f"{'... a broken prediction':34}{time.monotonic() - began:7.2f} s")
    page.get_by_text("Integrated gradients").first.wait_for(timeout=120_000)
    settle(page)
    print(f"{'... with its explanations':34}{time.monotonic() - began:7.2f} s")


def measure(server: Server, page: Page, rounds: int) -> None:
    """Each page when it is opened next and again, and reruns of one."""
    print(f"{'':34}{'first':>9}{'CPU':>8}{'again':>10}{'CPU':>8}{'ratio':>8}")
    for name in ("models", *PAGES):
        first, *again = (timed(server, partial(open_page, page, name)) for _ in range(rounds + 1))
        row(f"{name}, seen before" if name in OPENED else name, first, again)
        if name == SLIDER[0]:
            thumb = page.get_by_role("slider", name=SLIDER[1])
            moves = ("ArrowLeft", "ArrowRight") * rounds
            row(f"... {SLIDER[1].lower()}", first, [timed(server, partial(move, page, thumb, key)) for key in moves])


def move(page: Page, thumb: Locator, key: str) -> None:
    """Move a slider by a key, and wait until the page has followed."""
    thumb.press(key)
    settle(page)


def timed(server: Server, act: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall, and of the server's processor."""
    wall, processor = time.monotonic(), server.processor()
    act()
    return time.monotonic() - wall, server.processor() - processor


def row(label: str, first: tuple[float, float], again: list[tuple[float, float]]) -> None:
    """A line of the table; the ratio is of processor times."""
    wall, processor = (statistics.median(times) for times in zip(*again, strict=True))
    ratio = processor / first[1] if first[1] else float("nan")
    print(f"{label:34}{first[0]:7.2f} s{first[1]:6.2f} s{wall:8.2f} s{processor:6.2f} s{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
