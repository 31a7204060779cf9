"""Harden in a real browser: start a training, reload while it runs, stop, resume, and open what came of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from driving import Server, expect, narrow, open_page, settle, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

LONG = 120_000
"""Milliseconds for what a process of its own does, which loads a framework first."""
_STEPS = re.compile(r"Stage \d, Train: \d+ of")


def test_harden_a_model_to_its_place_among_the_models(page: Page, server: Server) -> None:
    open_page(page, "harden", model="toy-table", epochs="3")
    expect(page.get_by_text("About")).to_be_visible()
    shot(page, "harden-new")
    page.get_by_role("button", name="Start hardening").click()
    page.wait_for_url("**run=*")
    address = page.url
    page.goto(address)  # as a reload, or another reader with the same link
    expect(page.get_by_text("toy-table-robust is among the models")).to_be_visible(timeout=LONG)
    settle(page)
    assert page.url == address
    shot(page, "harden-done")
    narrow(page)
    settle(page)
    shot(page, "harden-done-narrow")
    assert (server.models / "toy-table-robust" / "config.json").exists()
    page.get_by_role("button", name="Explain it").click()
    page.wait_for_url("**/explain?*model=toy-table-robust*")
    settle(page)
    expect(page.get_by_test_id("stMain").get_by_text("It says").first).to_be_visible()


def test_stop_and_resume_with_the_app_restarted_between(page: Page, server: Server, problems: list[str]) -> None:
    open_page(page, "harden", model="toy-image", epochs="60")
    page.get_by_role("button", name="Start hardening").click()
    page.wait_for_url("**run=*")
    address = page.url
    expect(page.get_by_text(_STEPS)).to_be_visible(timeout=LONG)
    expect(page.get_by_text("training loss", exact=True)).to_be_visible(timeout=LONG)
    shot(page, "harden-running")
    server.stop()
    server.start()
    page.goto(address)
    settle(page)
    expect(page.get_by_text(_STEPS)).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=LONG)
    settle(page)
    shot(page, "harden-stopped")
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text(_STEPS)).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=LONG)
    settle(page)
    problems.clear()  # the server was away on purpose
    assert "Traceback" not in server.news()
