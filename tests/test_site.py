"""The documentation as a site: it builds without warnings or the network, and leaves out no page and no method."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = runpy.run_path(str(ROOT / "docs" / "reference.py"))
HOOKS = runpy.run_path(str(ROOT / "docs" / "site_hooks.py"))


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """The pages of the reference."""
    return REFERENCE["pages"]()


class Loaded(HTMLParser):
    """What a browser loads for a page by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and values.get("src"):
            self.addresses.append(str(values["src"]))
        if tag == "link" and values.get("rel") in ("stylesheet", "icon", "preconnect", "preload"):
            self.addresses.append(str(values["href"]))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    if find_spec("mkdocs") is None or find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed (the extra `docs`)")
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "WARNING" not in result.stderr.replace("NO_MKDOCS_2_WARNING", "")
    return folder


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    written = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert written <= built
    assert not list(site.rglob("*.py"))
    for path in site.rglob("*.html"):
        for address in Loaded(path.read_text(encoding="utf-8")).addresses:
            assert not re.match(r"(?:https?:)?//", address), (path.name, address)


def test_every_page_is_in_the_navigation(pages: dict[str, str]) -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named = re.findall(r"^\s+- (?:[\w ]+: )?([\w/-]+\.md)$", text, re.MULTILINE)
    written = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(named) == sorted([*written, *pages])


@pytest.mark.parametrize("family", REFERENCE["FAMILIES"])
def test_the_reference_says_something_of_every_method(family: str, pages: dict[str, str]) -> None:
    text = pages[f"reference/{family}.md"]
    registry: Any = REFERENCE["FAMILIES"][family].registry()
    parts = dict(re.findall(r"^## `([^`]+)`.*?\n\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE))
    assert set(parts) == set(registry)
    assert all(len(said.split()) > 3 for said in parts.values())


def test_the_reference_names_fields_with_their_defaults_and_citations(pages: dict[str, str]) -> None:
    pgd = pages["reference/attacks.md"].partition("## `pgd`")[2].partition("\n## ")[0]
    assert "| `steps` | `int` | `20` |" in pgd
    assert "Madry et al., *Towards deep learning models resistant to adversarial attacks* (ICLR 2018)" in pgd


def test_the_reference_has_every_public_name(pages: dict[str, str]) -> None:
    import xaibench

    found = re.findall(r"^## `(\w+)`$", pages["reference/python.md"], re.MULTILINE)
    assert sorted(found) == sorted(xaibench.__all__)


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ("``a`` < b & `c<d`", "`a` &lt; b &amp; `c<d`"),
        ("Args:\n    x: one\n        two\n    y: three", "Args:\n\n- `x`: one two\n- `y`: three"),
        ("=== ===\na   b\n=== ===", "```text\n=== ===\na   b\n=== ===\n```"),
        (">>> f()\n1", "```pycon\n>>> f()\n1\n```"),
    ],
)
def test_docstrings_become_markdown(doc: str, expected: str) -> None:
    assert REFERENCE["markdown"](doc) == expected


def test_pictures_that_were_not_taken_are_left_out() -> None:
    shown = "![The report](images/report.png)\n"
    missing = "![Nothing](images/app-that-was-never-there.png)\n"
    assert HOOKS["without_missing_pictures"](f"{shown}\n{missing}end") == f"{shown}\nend"


def test_the_gallery_is_small_and_whole() -> None:
    folder = ROOT / "docs" / "images" / "gallery"
    shown = set(re.findall(r"images/gallery/([\w.-]+)", (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")))
    assert shown == {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3_000_000
