"""A new reader's first minute: from the command to a broken prediction with its explanations, by a few clicks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from driving import WIDE, Server, expect, fill, settle, shot, watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MINUTE = 60.0


@pytest.fixture
def fresh(toy_models: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that has never been started, with nothing computed or loaded."""
    server = Server(tmp_path)
    fill(server.models, toy_models)
    yield server
    server.end()


def test_a_broken_prediction_with_explanations_within_a_minute(browser: Browser, fresh: Server) -> None:
    problems: list[str] = []
    began = time.monotonic()
    fresh.start()
    started = time.monotonic() - began
    context = browser.new_context(base_url=fresh.url, viewport=WIDE)
    page = context.new_page()
    watch(page, problems)
    page.goto("/")
    expect(page.get_by_test_id("stMain").get_by_role("heading").first).to_be_visible(timeout=MINUTE * 1000)
    painted = time.monotonic() - began
    page.get_by_test_id("stSidebarNav").get_by_text("Attack", exact=True).click()
    expect(page.get_by_text("makes it say")).to_be_visible(timeout=MINUTE * 1000)
    broken = time.monotonic() - began
    expect(page.get_by_text("Integrated gradients").first).to_be_visible(timeout=MINUTE * 1000)
    settle(page)
    spent = time.monotonic() - began
    shot(page, "first-minute")
    context.close()
    print(
        f"\nserver {started:.1f} s, first page {painted:.1f} s, broken {broken:.1f} s, with explanations {spent:.1f} s"
    )
    assert not problems
    assert "Traceback" not in fresh.news()
    assert spent < MINUTE
