"""An evaluation in a real browser: started, watched over a reload, stopped, resumed, and read to its broken samples."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlparse

from driving import Server, narrow, open_page, settle, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = 120_000
"""Milliseconds for a small run on a busy machine."""


def run_of(page: Page) -> str:
    page.wait_for_url("**run=*")  # the address is written when the page is whole
    return parse_qs(urlparse(page.url).query)["run"][0]


def test_a_run_goes_to_its_report_over_a_reload_a_stop_and_a_resume(page: Page, server: Server) -> None:
    open_page(page, "robustness", model="toy-image", n="200")  # takes long enough to be stopped
    page.locator(".st-key-start button").click()
    stop = page.locator("[class*=st-key-stop-]").get_by_role("button")
    stop.wait_for(timeout=LONG)
    run = run_of(page)
    page.reload()
    stop.wait_for(timeout=LONG)
    assert run_of(page) == run
    shot(page, "robustness-running")
    stop.click()
    resume = page.locator("[class*=st-key-resume-] button")
    resume.wait_for(timeout=LONG)
    shot(page, "robustness-stopped")
    resume.click()
    page.get_by_text("Finished after").wait_for(timeout=LONG)
    page.get_by_text("toy-image gets").wait_for(timeout=LONG)
    assert list(server.reports.glob("toy-image-*/report.json"))
    settle(page)
    shot(page, "robustness-finished")
    page.get_by_text("Broken samples", exact=True).click()
    page.wait_for_url("**section=samples*")
    settle(page)
    narrow(page)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    shot(page, "robustness-finished-narrow")
