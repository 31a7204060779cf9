"""The page of explanations in a real browser: its views, and a point of the map that is clicked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from driving import expect, narrow, open_page, settle, shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Markers of one trace lie in the map's middle by chance only: the first circle's own place is clicked.
_FIRST_POINT = """() => {
    const mark = document.querySelector('.js-plotly-plot .scatterlayer .trace .points path');
    const box = mark.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
}"""


def test_views_follow_one_another_and_are_in_the_address(page: Page) -> None:
    open_page(page, "explanations", model="digits-cnn")
    expect(page.get_by_role("heading", name="comes first")).to_be_visible()
    shot(page, "explanations-ranking")
    page.get_by_text("Quality", exact=True).click()
    settle(page)
    expect(page.get_by_role("heading", name="How far do they agree?")).to_be_visible()
    assert "look=quality" in page.url
    shot(page, "explanations-quality")
    narrow(page)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    shot(page, "explanations-quality-narrow")


def test_a_clicked_point_opens_and_leads_on(page: Page) -> None:
    open_page(page, "explanations", model="digits-cnn", look="map")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .points path")
    shot(page, "explanations-map")
    before = page.get_by_role("combobox", name="Point").first
    expect(before).to_be_visible()
    page.mouse.click(*page.evaluate(_FIRST_POINT))
    settle(page)
    picked = re.search(r"sample=(\d+)", page.url)
    assert picked, page.url
    page.get_by_role("button", name="Attack it").click()
    page.wait_for_url(re.compile(rf"/attack\?.*sample={picked[1]}"))


def test_a_table_shows_what_matters(page: Page) -> None:
    open_page(page, "explanations", model="cancer-mlp", look="overall")
    expect(page.get_by_role("heading", name="matters most")).to_be_visible()
    shot(page, "explanations-overall")
