"""Reports as files in a real browser without a network: no complaint, charts that hover, pictures that enlarge."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import factories
import pytest
from driving import ROOT, WIDE

from xaibench.evaluate import Plan, run
from xaibench.report import write_report
from xaibench.report.leaderboard import Failure, collect, write_leaderboard
from xaibench.report.pdf import print_page
from xaibench.report.write import redraw

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

SAMPLES = ROOT / "reports"
"""The reports that are kept with the code."""
PAGES = sorted([*SAMPLES.glob("*/index.html"), *SAMPLES.glob("*/compare.html"), SAMPLES / "index.html"])
KEPT = [
    page
    for page in PAGES
    if page.parent.name in ("digits-cnn", "cancer-mlp", "imdb-cnn", "digits-cnn-hardened", "reports")
]
REPORT = SAMPLES / "digits-cnn" / "index.html"


@pytest.fixture
def sheet(browser: Browser) -> Iterator[Page]:
    """An empty page without a network; what its browser complains about fails the test."""
    context = browser.new_context(offline=True, viewport=WIDE)
    window = context.new_page()
    found: list[str] = []
    window.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    window.on("pageerror", lambda error: found.append(str(error)))
    window.on("request", lambda request: found.append(request.url) if request.url.startswith("http") else None)
    yield window
    context.close()
    assert found == []


def opened(sheet: Page, path: Path) -> Page:
    sheet.goto(path.as_uri())
    if sheet.locator(".chart[data-source]").count():
        sheet.locator(".chart.is-live .main-svg").first.wait_for()
    return sheet


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
@pytest.mark.parametrize("width", [400, 1400])
def test_kept_pages_open_offline_and_fit(sheet: Page, path: Path, width: int) -> None:
    sheet.set_viewport_size({"width": width, "height": 900})
    opened(sheet, path)
    assert sheet.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert sheet.locator("h1").count() == 1
    assert sheet.locator("img:not([alt]), img[alt='']:visible").count() == 0


@pytest.mark.parametrize(
    ("chart", "across", "up", "said"),
    [("curve", 0.5, 0.5, "%"), ("nearest", 0.55, 0.25, "samples from"), ("reliability", 0.965, 0.92, "% correct at")],
)
def test_charts_tell_their_numbers_under_the_pointer(
    sheet: Page, chart: str, across: float, up: float, said: str
) -> None:
    opened(sheet, REPORT)
    drawn = sheet.locator(f".chart[data-source={chart}] .live")
    drawn.scroll_into_view_if_needed()
    area = drawn.locator(".nsewdrag").bounding_box()
    assert area is not None
    sheet.mouse.move(area["x"] + area["width"] * across, area["y"] + area["height"] * (1 - up))
    drawn.locator(".hoverlayer text").first.wait_for()
    assert said in (drawn.locator(".hoverlayer").text_content() or "")


def test_pictures_enlarge_by_keyboard_and_give_the_focus_back(sheet: Page) -> None:
    opened(sheet, REPORT)
    first = sheet.locator("button.zoom").first
    first.focus()
    sheet.keyboard.press("Enter")
    dialog = sheet.get_by_role("dialog", name="Enlarged picture")
    assert dialog.is_visible()
    assert dialog.locator("img").get_attribute("alt") == first.locator("img").get_attribute("alt")
    sheet.keyboard.press("ArrowRight")
    second = sheet.locator("button.zoom img").nth(1).get_attribute("alt")
    assert dialog.locator("img").get_attribute("alt") == dialog.locator("figcaption").text_content() == second
    sheet.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert first.evaluate("button => button === document.activeElement")


def test_light_and_dark_follow_the_reader_and_then_the_button(sheet: Page) -> None:
    sheet.emulate_media(color_scheme="dark")
    opened(sheet, REPORT)
    background = "getComputedStyle(document.body).backgroundColor"
    dark = sheet.evaluate(background)
    button = sheet.get_by_role("button", name="Dark")
    assert button.get_attribute("aria-pressed") == "true"
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    light = sheet.evaluate(background)
    assert light != dark
    sheet.emulate_media(color_scheme="light")
    assert sheet.evaluate(background) == light


def test_the_contents_lead_to_their_sections_and_fold_away_when_narrow(sheet: Page) -> None:
    opened(sheet, REPORT)
    sheet.get_by_role("link", name="Method", exact=True).click()
    assert sheet.locator("#method h2").is_visible()
    assert sheet.evaluate("document.querySelector('#method').getBoundingClientRect().top < innerHeight / 2")
    sheet.set_viewport_size({"width": 400, "height": 800})
    opened(sheet, REPORT)
    link = sheet.get_by_role("link", name="Method", exact=True)
    assert not link.is_visible()
    sheet.locator(".contents summary").click()
    link.click()
    assert not link.is_visible()


def test_a_leaderboard_is_sorted_by_keyboard(sheet: Page) -> None:
    opened(sheet, SAMPLES / "index.html")
    table = sheet.locator("table.sortable").first
    names = table.locator("tbody th a")
    assert names.all_text_contents() == ["digits-cnn-robust", "digits-cnn"]
    head = table.get_by_role("columnheader", name="Clean accuracy")
    assert head.get_attribute("aria-sort") is None
    head.get_by_role("button").focus()
    sheet.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert names.all_text_contents() == ["digits-cnn", "digits-cnn-robust"]
    sheet.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert names.all_text_contents() == ["digits-cnn-robust", "digits-cnn"]
    assert table.locator("[aria-sort]").count() == 1
    names.first.click()
    assert sheet.locator("h1").text_content() == "digits-cnn-robust"


def test_names_and_texts_of_data_run_nothing(sheet: Page, tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.dismiss()

    sheet.on("dialog", ask)
    table = factories.words_table(str(tmp_path / "texts.csv"))
    plan = Plan(model="factories:words", data=table, split="all", samples=2, minimal=0, assessed=0, checks=False)
    opened(sheet, write_report(run(plan), tmp_path / "report"))
    assert factories.SCRIPT in (sheet.locator("body").text_content() or "")
    failure = Failure(name=factories.SCRIPT, reason="<img src=x onerror=alert(2)>")
    board = collect([tmp_path / "report"], tmp_path, [failure])
    opened(sheet, write_leaderboard(board, tmp_path))
    assert sheet.locator("#failed dd").text_content() == failure.reason
    assert asked == []


def test_a_report_prints_to_a_pdf(tmp_path: Path, browser: Browser) -> None:
    folder = shutil.copytree(REPORT.parent, tmp_path / "report")
    written = print_page(folder / "index.html", folder / "report.pdf")
    content = written.read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page/") + content.count(b"/Type /Page ") > 3


def test_a_printed_report_keeps_together_what_belongs_together(sheet: Page, tmp_path: Path) -> None:
    shutil.copytree(REPORT.parent, tmp_path / "report")
    redraw(tmp_path / "report")
    opened(sheet, tmp_path / "report" / "index.html")
    printed = sheet.pdf(prefer_css_page_size=True)
    (width, height), *others = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", printed)
    assert (round(float(width)), round(float(height))) == (595, 842), "A4"
    assert len(others) <= 8
    sheet.emulate_media(media="print")
    charts = sheet.locator(".chart .still > svg, figure > svg").all()
    heights = [box["height"] for chart in charts if (box := chart.bounding_box())]
    assert 0 < max(heights) <= 62 * 96 / 25.4 + 1, "the first chart stands below the summary, not on a page of its own"
    style = sheet.evaluate("""() => ['#again', '.note:has(+ .samples)'].map(one => {
        const style = getComputedStyle(document.querySelector(one));
        return [style.breakInside, style.breakAfter, style.breakBefore].join(' ');
    })""")
    assert style == ["avoid auto auto", "avoid avoid auto"]
