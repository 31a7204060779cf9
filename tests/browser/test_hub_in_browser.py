"""A model of a Hub in a real browser: typed by its name, downloaded, opened, and taken away again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from driving import PATIENCE, WIDE, Server, expect, open_page, settle, shot, watch
from pretend_hub import served, write_checkpoint

from xaibench.intake import missing_package

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "owner/tiny-vit"
pytestmark = pytest.mark.skipif(
    missing_package("hf") is not None, reason="transformers is not installed: pip install 'xaibench[hub]'"
)


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The app without a model, in reach of a Hub that holds one."""
    write_checkpoint(tmp_path / "hub" / NAME)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with served(tmp_path / "hub") as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        server = Server(tmp_path / "app")
        server.home.mkdir()
        server.start()
        yield server
        server.end()


@pytest.fixture
def window(browser: Browser, alone: Server) -> Iterator[Page]:
    context = browser.new_context(base_url=alone.url, viewport=WIDE)
    context.set_default_timeout(PATIENCE)
    problems: list[str] = []
    page = context.new_page()
    watch(page, problems)
    yield page
    context.close()
    assert not problems
    assert "Traceback" not in alone.news()


def ask_for(page: Page, name: str) -> None:
    field = page.get_by_label("Its name: owner/name on the Hub, or timm:name")
    field.fill(name)
    field.press("Tab")
    settle(page)
    page.get_by_role("button", name="Download and add it").click()


def test_a_name_becomes_a_model_that_can_be_broken(window: Page, alone: Server) -> None:
    open_page(window, "models")
    window.get_by_text("Add your own").first.click()
    window.get_by_text("A Hub or timm name").click()
    settle(window)
    ask_for(window, "owner/another")
    expect(window.get_by_text("there is none")).to_be_visible()
    shot(window, "hub-refused")
    ask_for(window, NAME)
    window.get_by_role("dialog").get_by_text("tiny-vit").first.wait_for()
    settle(window)
    (folder,) = alone.models.glob("own-tiny-vit-*")
    shot(window, "hub-added", whole=False)
    open_page(window, "attack", model=folder.name)
    expect(window.get_by_text("It says").first).to_be_visible()
    shot(window, "hub-attacked")
    open_page(window, "models", details=folder.name)
    window.get_by_role("dialog").get_by_text("Remove it", exact=True).click()
    window.get_by_role("button", name="Remove it for good").click()
    settle(window)
    assert not folder.exists()
