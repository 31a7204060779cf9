"""The app as a whole in a real browser: every page opens, wide and narrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from driving import narrow, open_page, settle, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAGES = ("models", "explain", "attack", "robustness", "explanations", "compare", "harden", "reports")


@pytest.mark.parametrize("name", PAGES)
def test_page_opens(page: Page, name: str) -> None:
    open_page(page, name, model="toy-image")
    assert page.get_by_test_id("stMain").get_by_role("heading").first.is_visible()
    assert page.get_by_test_id("stException").count() == 0
    shot(page, f"{name}-wide")
    narrow(page)
    settle(page)
    overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert overflow <= 0
    shot(page, f"{name}-narrow")
