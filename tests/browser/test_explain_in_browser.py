"""The Explain page in a real browser: regions and words by mouse and keyboard, samples by eye, one's own picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from driving import expect, narrow, open_page, settle, shot
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_a_click_takes_a_region_away_and_another_puts_it_back(page: Page) -> None:
    open_page(page, "explain", model="toy-image", method="saliency", cut="grid", parts="16")
    chart = page.get_by_test_id("stPlotlyChart").filter(has=page.locator(".scatterlayer")).first
    for there in (True, False):
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 170, box["y"] + 170)
        page.mouse.click(box["x"] + 170, box["y"] + 170)
        page.wait_for_function("there => location.search.includes('removed=') === there", arg=there)
        settle(page)
        assert page.get_by_text("Without the region it").count() == there
    shot(page, "explain-image")


def test_words_go_by_keyboard_and_the_link_can_be_sent(page: Page) -> None:
    open_page(page, "explain", model="toy-text", method="saliency")
    word = page.get_by_test_id("stMain").get_by_role("button", name="film").first
    if word.count() == 0:
        word = page.locator("[data-testid^=stBaseButton-pills]").nth(1)
    word.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Without ").first.wait_for()
    settle(page)
    page.reload()
    settle(page)
    assert page.get_by_text("Without ").first.is_visible()
    shot(page, "explain-text")


def test_a_neighbour_is_opened_by_its_picture(page: Page) -> None:
    open_page(page, "explain", model="toy-image", method="saliency")
    page.get_by_role("button", name="Row 4", exact=True).click()
    page.wait_for_function("location.search.includes('sample=4')")
    settle(page)
    expect(page.get_by_text("The input: row 4 of digits").first).to_be_visible()


def test_a_picture_of_ones_own_is_explained(page: Page) -> None:
    open_page(page, "explain", model="toy-image", method="saliency", input="own")
    file = io.BytesIO()
    Image.new("RGB", (300, 200), (10, 200, 90)).save(file, "png")
    hostile = "<img src=x onerror=alert(1)>.png"
    page.locator("input[type=file]").set_input_files(
        {"name": hostile, "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.get_by_text("cut to its middle").wait_for()
    settle(page)
    assert page.get_by_text("your own picture").first.is_visible()
    shot(page, "explain-own")


@pytest.mark.parametrize(("model", "view"), [("toy-image", "alike"), ("toy-table", "change"), ("toy-text", "remove")])
def test_everything_fits_a_telephone(page: Page, model: str, view: str) -> None:
    narrow(page)
    open_page(page, "explain", model=model, method="saliency", closer=view)
    assert page.get_by_test_id("stException").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    shot(page, f"explain-{model}-narrow")
