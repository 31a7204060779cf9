"""The page that compares in a real browser: what is known at once, and a comparison that runs over a reload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driving import Server, expect, narrow, open_page, settle, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_before_and_after_hardening_at_once(page: Page) -> None:
    open_page(page, "compare", a="digits-cnn", b="digits-cnn-robust")
    expect(page.get_by_role("heading", name="points under attack")).to_be_visible()
    expect(page.get_by_role("heading", name="One sample through both")).to_be_visible()
    shot(page, "compare")
    narrow(page)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    shot(page, "compare-narrow")


def test_a_comparison_runs_on_over_a_reload_and_shows_its_verdict(page: Page, server: Server) -> None:
    open_page(page, "compare", a="toy-table", b="cancer-mlp")
    page.get_by_text("Accuracy alone").click()
    settle(page)
    page.get_by_role("button", name="Compare them").click()
    page.wait_for_url("**comparison=*")
    page.reload()
    page.get_by_text("Finished after").wait_for(timeout=120_000)
    settle(page)
    expect(page.get_by_text("From the comparison compare-toy-table-cancer-mlp", exact=False)).to_be_visible()
    assert list(server.reports.glob("compare-toy-table-cancer-mlp-*/compare.html"))
    shot(page, "compare-finished")


def test_many_stand_side_by_side(page: Page) -> None:
    open_page(page, "compare", a="digits-cnn", b="digits-cnn-robust", more="cancer-mlp")
    expect(page.get_by_role("heading", name="withstands most")).to_be_visible()
    shot(page, "compare-many")
