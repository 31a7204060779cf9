"""Takes the pictures of the app and of a report for the README and the gallery: `make screenshots`.

The app runs on copies of the shipped models and sample reports, and Chromium shows each page as a reader would see it.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "browser"))

from driving import FLAGS, ROOT, Server, find_browser, open_page, settle

if TYPE_CHECKING:
    from playwright.sync_api import ViewportSize

WIDTH = 1360
PAGES: dict[str, tuple[int, dict[str, str]]] = {
    "models": (860, {}),
    "explain": (1150, {"model": "digits-cnn", "sample": "40"}),
    "attack": (1150, {"model": "digits-cnn", "sample": "40"}),
    "robustness": (1250, {"model": "digits-cnn"}),
    "explanations": (1100, {"model": "evidence-cnn"}),
    "compare": (1250, {"a": "digits-cnn", "b": "digits-cnn-robust"}),
    "harden": (1250, {"model": "digits-cnn"}),
    "reports": (1150, {"report": "digits-cnn"}),
}
"""Height of each page's picture in pixels, and its address."""
REPORT = ROOT / "reports" / "digits-cnn" / "index.html"
REPORT_SIZE: ViewportSize = {"width": 1180, "height": 1260}
IMAGES = ROOT / "docs" / "images"
_PICTURES_COME = 2_000
"""Milliseconds until pictures and charts of a drawn page are there as well."""


def main() -> int:
    """Write ``docs/images/app-PAGE.png`` for every page, and ``report.png``."""
    program = find_browser()
    if program is None:
        print("no Chromium: install it, or name one in CHROMIUM", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        server = Server(Path(home))
        shutil.copytree(ROOT / "models", server.models)
        shutil.copytree(ROOT / "reports", server.reports)
        server.start()
        browser = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        try:
            for name, (height, address) in PAGES.items():
                page = browser.new_page(base_url=server.url, viewport={"width": WIDTH, "height": height})
                open_page(page, name, **address)
                page.wait_for_timeout(_PICTURES_COME)
                settle(page)
                page.screenshot(path=IMAGES / f"app-{name}.png")
                page.close()
                print(name, flush=True)
            page = browser.new_page(viewport=REPORT_SIZE)
            page.goto(REPORT.as_uri())
            page.wait_for_timeout(_PICTURES_COME)
            page.screenshot(path=IMAGES / "report.png")
            print("report", flush=True)
        finally:
            browser.close()
            server.end()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
