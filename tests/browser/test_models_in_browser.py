"""The Models page in a real browser: first paint, a model uploaded, hostile text."""

from __future__ import annotations

import json
import pickle
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from driving import Server, expect, narrow, open_page, settle, shot

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

HOSTILE = "<img src=x onerror=\"document.title='taken'\"> **b** [l](javascript:alert(1))"
ADDRESSES = (
    "![p](http://evil.example/p.png) http://evil.example/a www.evil.example b@evil.example :smile: :material/home:"
)
FIRST_SECONDS = 3.0


@pytest.fixture
def hostile(server: Server, toy_models: Path) -> Iterator[Path]:
    """A model whose card tries to be HTML, and a folder that is broken."""
    folder, broken = server.models / "hostile", server.models / "broken"
    shutil.copytree(toy_models / "toy-image", folder)
    path = folder / "config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    changes = {
        "name": HOSTILE,
        "summary": f"{HOSTILE} {ADDRESSES}",
        "class_names": [f"{HOSTILE}{i}" for i in range(10)],
    }
    path.write_text(json.dumps(told | changes), encoding="utf-8")
    broken.mkdir()
    (broken / "config.json").write_text("{", encoding="utf-8")
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(broken)


def test_the_gallery_is_there_at_once(page: Page, server: Server) -> None:
    open_page(page, "models")

    def painted() -> float:
        began = time.monotonic()
        page.goto("/")
        page.get_by_role("heading", name="toy-image").wait_for()
        return time.monotonic() - began

    took = min(painted() for _ in range(3))  # whatever else the machine is doing
    print(f"first paint of the gallery: {took:.2f} s")
    assert took < FIRST_SECONDS
    page.get_by_role("button", name="Break it").click()
    page.wait_for_url("**/attack*")


def test_hostile_cards_are_text(page: Page, hostile: Path) -> None:
    open_page(page, "models", details="hostile")
    assert page.title() == "xaibench"
    assert page.locator("img[src='x']").count() == 0
    expect(page.get_by_role("dialog").get_by_text("b@\u2060evil.example :\u2060smile:")).to_be_visible()
    for link in ("a[href^='javascript']", "a[href*='evil']", "a[href^='mailto']", "img[src*='evil']"):
        assert page.locator(link).count() == 0, link
    shot(page, "models-hostile", whole=False)
    open_page(page, "models")
    assert page.get_by_text("cannot be used").is_visible()
    assert page.get_by_role("heading", name="toy-image").is_visible()


def test_an_address_becomes_neither_picture_nor_link(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_page(page, "compare", comparison="![x](http://evil.example/p.png)")
    open_page(page, "explain", model=f"![x](http://evil.example/p.png) {ADDRESSES}")
    expect(page.get_by_text("evil.example").first).to_be_visible()
    assert page.locator("a[href*='evil'], img[src*='evil']").count() == 0
    assert not [url for url in asked if url.startswith("http://evil")]


def test_weights_uploaded_become_a_model_and_can_be_removed(page: Page, server: Server, toy_models: Path) -> None:
    open_page(page, "models", view="add", network="small_cnn", for_data="digits")
    weights = toy_models / "toy-image" / "model.safetensors"
    page.locator("input[type=file]").first.set_input_files(weights)
    settle(page)
    for label, value in (("Width", "4"), ("Hidden", "16"), ("A name for it", "Uploaded <b>net</b>")):
        field = page.get_by_label(label, exact=True)
        field.fill(value)
        field.press("Tab")
        settle(page)
    page.get_by_role("button", name="Add it").click()
    page.get_by_role("dialog").get_by_text("Uploaded <b>net</b>").first.wait_for(timeout=120_000)
    settle(page)
    (folder,) = server.models.glob("own-*")
    assert folder.name.startswith("own-uploaded-b-net-b-")
    shot(page, "models-added", whole=False)
    page.get_by_role("dialog").get_by_text("Remove it", exact=True).click()
    page.get_by_role("button", name="Remove it for good").click()
    settle(page)
    assert not folder.exists()
    assert not list(server.models.glob("own-*"))


def test_pickles_are_refused_in_one_line(page: Page, server: Server, tmp_path: Path) -> None:
    open_page(page, "models", view="add")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(print))
    page.locator("input[type=file]").first.set_input_files(tmp_path / "evil.pt")
    settle(page)
    page.get_by_role("button", name="Add it").click()
    page.get_by_text("nothing but tensors").wait_for(timeout=120_000)
    narrow(page)
    settle(page)
    shot(page, "models-refused")
    assert not list(server.models.glob("own-*"))
