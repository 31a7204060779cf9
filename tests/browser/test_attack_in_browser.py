"""The Attack page in a real browser: broken at once, broken anew at another epsilon, taken away, hostile addresses."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from driving import narrow, open_page, settle, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page


def finding(page: Page) -> str:
    """What the headings of the page say."""
    return " ".join(page.get_by_test_id("stMain").get_by_role("heading").all_inner_texts())


def test_a_prediction_is_broken_as_soon_as_the_page_is_open(page: Page) -> None:
    page.goto("/attack")
    page.get_by_role("heading", name="makes it say").wait_for()
    settle(page)
    said = finding(page)
    assert "which is right" in said
    assert "makes it say" in said
    main = page.get_by_test_id("stMain")
    for name in ("Before: ", "magnified", "After: "):
        assert main.get_by_role("img", name=name).first.is_visible()
    shot(page, "attack-image-wide")
    narrow(page)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    shot(page, "attack-image-narrow")


def test_epsilon_moves_by_keyboard_and_the_address_follows(page: Page) -> None:
    open_page(page, "attack", model="toy-image")
    slider = page.get_by_role("slider", name="Epsilon: how far it may go")
    slider.press("Home")
    settle(page)
    assert "eps=" in page.url
    assert "finds no change" in page.get_by_test_id("stMain").inner_text()
    slider.press("End")
    settle(page)
    assert "makes it say" in finding(page)
    address = page.url
    page.goto(address)
    settle(page)
    assert page.url == address
    assert "makes it say" in finding(page)


def test_the_example_can_be_taken_away(page: Page) -> None:
    open_page(page, "attack", model="toy-image", eps="0.4")
    with page.expect_download() as got:
        page.get_by_role("button", name="Exact numbers").click()
    kept = np.load(io.BytesIO(got.value.path().read_bytes()))
    change = np.abs(kept["adversarial"] - kept["clean"])
    assert 0 < change.max() <= 0.4 + 1e-6


def test_words_and_tables_show_what_changed(page: Page) -> None:
    open_page(page, "attack", model="toy-text")
    main = page.get_by_test_id("stMain")
    assert main.locator("del").first.is_visible()
    assert main.locator("ins").first.is_visible()
    shot(page, "attack-text")
    open_page(page, "attack", model="toy-table", eps="0.4")
    assert "What was changed" in main.inner_text()
    shot(page, "attack-table")


def test_hostile_words_are_words(page: Page) -> None:
    hostile = "<script>document.title='x'</script> **bold** film"
    open_page(page, "attack", model="toy-text", input="own", text=hostile, aim="<b>", norm="../..", attack="rm")
    assert page.title() != "x"
    assert "It says" in finding(page)
    assert page.get_by_test_id("stException").count() == 0
