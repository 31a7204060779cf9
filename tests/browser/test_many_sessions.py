"""Twenty readers at once on one server, each with a model and a sample of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest
import torch
from driving import WIDE, Server, settle, shot, watch

from xaibench import load_data, load_model
from xaibench.reading import percent

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

READERS = 20
MODELS = (
    ("toy-image", "digits"),
    ("toy-table", "breast-cancer"),
    ("digits-cnn", "digits"),
    ("cancer-mlp", "breast-cancer"),
)
EACH = READERS // len(MODELS)
MORE_MEMORY = 150.0
"""Megabytes that a second round of the same work may add to the server's: caches are bounded."""

_STILL = """document.addEventListener('DOMContentLoaded', () => {
    const style = document.createElement('style');
    style.textContent = '* { animation: none !important; transition: none !important; }';
    document.head.append(style);
});"""
"""Twenty windows that wait would keep the processor busy with what moves in them."""


@dataclass(frozen=True)
class Reader:
    """What one reader looks at, and what the page has to say of it: class and probability, as the library has them."""

    model: str
    row: int
    says: str

    @property
    def address(self) -> dict[str, str]:
        return {"model": self.model, "sample": str(self.row), "method": "saliency"}


def readers(server: Server, begin: int) -> list[Reader]:
    """Twenty readers of four models, with samples from ``begin`` on by how unsure the model is of them."""
    found = []
    for name, data_name in MODELS:
        model, data = load_model(server.models / name), load_data(data_name)
        said = model.logits(data.inputs).detach().softmax(dim=1)
        right = (said.argmax(dim=1) == data.labels).nonzero().flatten().tolist()
        least_sure = sorted(right, key=lambda row: float(said[row].max()))  # probabilities that differ when written
        for row in least_sure[begin : begin + EACH]:
            sure, now = said[row].max(dim=0)
            found.append(Reader(name, row, f"It says {model.class_names[int(now)]} with {percent(float(sure))}"))
    assert len({reader.says for reader in found}) > READERS * 3 / 4
    return found


@pytest.fixture
def tabs(browser: Browser, server: Server, problems: list[str]) -> Iterator[list[Page]]:
    """Twenty tabs: a session of the server for each."""
    window = browser.new_context(base_url=server.url, viewport=WIDE, reduced_motion="reduce")
    window.add_init_script(_STILL)
    pages = [window.new_page() for _ in range(READERS)]
    for page in pages:
        watch(page, problems)
    yield pages
    window.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_sessions_keep_apart(server: Server, tabs: list[Page]) -> None:
    with torch.random.fork_rng():
        first, second = readers(server, 0), readers(server, EACH)
    looked = together(tabs, first, "explain")
    for page in tabs:  # within the session that is there: a new one would have no state to mix up
        page.get_by_test_id("stSidebarNav").get_by_text("Attack", exact=True).click()
    moved = answers(tabs, first, "attack")
    before = server.memory()
    again = together(tabs, second, "explain")
    after = server.memory()
    shot(tabs[-1], "twenty-sessions")
    print(
        f"\n{READERS} sessions: all answered within {looked:.1f} s on Explain, {moved:.1f} s on Attack, {again:.1f} s"
        f" with other samples; {before:.0f} MB, then {after:.0f} MB"
    )
    assert after - before < MORE_MEMORY


def together(tabs: list[Page], wanted: list[Reader], name: str) -> float:
    """Let all readers open a page at once; gives the seconds until the last has an answer."""
    began = time.monotonic()
    for page, reader in zip(tabs, wanted, strict=True):
        page.goto(f"/{name}?{urlencode(reader.address)}", wait_until="commit")
    return time.monotonic() - began + answers(tabs, wanted, name)


def answers(tabs: list[Page], wanted: list[Reader], name: str) -> float:
    """Wait for all answers and check that each page speaks of its own model and sample."""
    began = time.monotonic()
    for page in tabs:
        page.wait_for_url(f"**/{name}*", wait_until="commit", timeout=120_000)
        settle(page, timeout=180)
    spent = time.monotonic() - began
    for page, reader in zip(tabs, wanted, strict=True):
        main = " ".join(page.get_by_test_id("stMain").inner_text().split())
        assert reader.says in main, f"{reader}: {main[:500]}"
        assert page.get_by_test_id("stException").count() == 0
        assert f"model={reader.model}" in page.url or reader.model == "digits-cnn"
        assert f"sample={reader.row}" in page.url or str(reader.row) in page.get_by_test_id("stSidebar").inner_text()
    return spent
