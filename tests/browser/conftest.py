"""A real browser on the real app: Playwright drives Debian's Chromium, or the browser that ``CHROMIUM`` names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from driving import FLAGS, PATIENCE, WIDE, Server, fill, find_browser, watch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_HERE = Path(__file__).parent
_LEFT = 'WebSocketDisconnected: WebSocket is not connected. Need to call "accept" first.'
"""In two tracebacks Streamlit's server tells of a reader who left while the connection was made: that harms nobody."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.browser)


def chromium() -> str:
    """The browser's program; skips the test where there is none."""
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install 'xaibench[browser]'")
    found = find_browser()
    if not found:
        pytest.skip("no Chromium: apt-get install chromium, or name one in CHROMIUM")
    return found


@pytest.fixture(scope="session")
def server(toy_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real app with toy models, some shipped ones, and folders of its own."""
    chromium()
    running = Server(tmp_path_factory.mktemp("app"))
    fill(running.models, toy_models)
    running.start()
    try:
        yield running
    finally:
        running.end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser a file: Playwright's loop would be in the way of other tests."""
    program = chromium()
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program, args=[*FLAGS])
        yield launched
        launched.close()


@pytest.fixture
def problems(server: Server) -> Iterator[list[str]]:
    """What went wrong in the browser and on the server during a test: fails it, unless it clears what it meant."""
    server.news()
    found: list[str] = []
    yield found
    news = server.news()
    if news.count("Traceback") > 2 * news.count(_LEFT):
        found.append(f"the server printed:\n{news}")
    assert not found, "\n".join(found)


@pytest.fixture
def page(browser: Browser, server: Server, problems: list[str]) -> Iterator[Page]:
    """A reader's empty window; errors of scripts, of the console and of requests fail the test."""
    context = browser.new_context(base_url=server.url, viewport=WIDE, accept_downloads=True)
    context.set_default_timeout(PATIENCE)
    window = context.new_page()
    watch(window, problems)
    yield window
    context.close()
