"""The Reports page in a real browser: a report opens shut in, a hostile one reaches nothing, one is verified."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from driving import ROOT, Server, narrow, open_page, settle, shot

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

ESCAPES = """<!doctype html><h1 id="own">mine</h1><script>
const tried = [];
for (const [name, attempt] of Object.entries({
  parent: () => parent.parent.document.title = 'taken',
  cookie: () => document.cookie,
  storage: () => localStorage.length,
  top: () => { top.location.href = 'about:blank'; },
})) { try { attempt(); tried.push(name + ' worked'); } catch (error) { tried.push(name + ' refused'); } }
fetch('/_stcore/health', {mode: 'no-cors'}).then(() => tried.push('fetch worked'), () => tried.push('fetch refused'))
  .finally(() => { document.getElementById('own').textContent = tried.join(', '); });
</script><img src="/favicon.png" onload="document.title='image'">"""


@pytest.fixture
def reports(server: Server) -> Iterator[Path]:
    """A sample report, and a copy of it whose page tries to break out."""
    names = ("cancer-mlp", "hostile")
    for name in names:
        shutil.copytree(ROOT / "reports" / "cancer-mlp", server.reports / name)
    (server.reports / "hostile" / "index.html").write_text(ESCAPES, encoding="utf-8")
    yield server.reports
    for name in names:
        shutil.rmtree(server.reports / name)


def test_a_report_opens_in_the_app(page: Page, reports: Path) -> None:
    open_page(page, "reports", report="cancer-mlp")
    inner = page.frame_locator("iframe").frame_locator("iframe")
    inner.get_by_role("heading", name="cancer-mlp").first.wait_for()
    shot(page, "reports-open")
    narrow(page)
    settle(page)
    shot(page, "reports-open-narrow")


def test_a_hostile_page_reaches_neither_app_nor_network(page: Page, reports: Path, problems: list[str]) -> None:
    open_page(page, "reports", report="hostile")
    heading = page.frame_locator("iframe").frame_locator("iframe").locator("#own")
    heading.get_by_text("fetch").wait_for()
    told = heading.inner_text()
    assert "worked" not in told, told
    assert page.title() == "xaibench"
    assert "/reports" in page.url
    problems.clear()  # the browser says what it refused


def test_claims_are_verified_while_one_watches(page: Page, reports: Path) -> None:
    open_page(page, "reports", report="cancer-mlp")
    page.get_by_role("button", name="Verify its claims").click()
    verdict = page.get_by_text(re.compile("^(Every claim holds|It could not be verified)"))
    verdict.wait_for(timeout=180_000)
    assert verdict.inner_text().startswith("Every claim holds"), "bring the sample reports up to date: make samples"
    shot(page, "reports-verified")


def test_files_can_be_taken_away(page: Page, reports: Path) -> None:
    open_page(page, "reports", report="cancer-mlp")
    with page.expect_download() as download:
        page.get_by_role("button", name="Numbers (JSON)").click()
    assert download.value.suggested_filename == "cancer-mlp.json"
    assert download.value.path().read_bytes() == (reports / "cancer-mlp" / "report.json").read_bytes()
