"""What the pages say, line by line, for a kept report: a change of wording or order shows as a change of a text file.

``UPDATE_SNAPSHOTS=1 pytest tests/report/test_snapshots.py`` writes the files again.
"""

from __future__ import annotations

import json
import os
import shutil
from html.parser import HTMLParser
from pathlib import Path

from xaibench.report.card import standalone_card
from xaibench.report.leaderboard import Failure, collect, write_leaderboard
from xaibench.report.schema import Report
from xaibench.report.write import redraw

HERE = Path(__file__).parent
OLD = HERE / "old"
_SILENT = {"script", "style", "svg"}
_INLINE = {"a", "b", "code", "em", "i", "mark", "small", "span", "strong", "time"}
_CELLS = {"th", "td"}
_VOID = {"meta", "img", "br"}


class Outline(HTMLParser):
    """A page as lines: the element that holds a text, and the text; pictures by what describes them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        described = values.get("alt") or (values.get("aria-label") if values.get("role") == "img" else None)
        if described and not self.is_silent:
            self.lines.append(f"[{described}]")
        if tag not in _VOID:
            self.open.append(tag)
        if tag in _CELLS and self.lines:
            self._add("|")
        elif tag not in _INLINE | _SILENT and not self.is_silent:
            self.lines.append(f"{tag}:")

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if words and not self.is_silent:
            self.lines.append(words) if not self.lines else self._add(words)

    def _add(self, words: str) -> None:
        self.lines[-1] += f" {words}"

    @property
    def is_silent(self) -> bool:
        return bool(_SILENT & set(self.open))


def outline(path: Path) -> str:
    lines = Outline(path.read_text(encoding="utf-8")).lines
    return "\n".join(line for line in lines if not line.endswith(":")) + "\n"


def check(name: str, found: str) -> None:
    """Compare with the kept text, in which versions and times are those of the kept report itself."""
    path = HERE / "snapshots" / name
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found.splitlines() == path.read_text(encoding="utf-8").splitlines()


def test_the_page_of_a_report(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / "v3", tmp_path / "report")
    check("report.txt", outline(redraw(folder)))


def test_the_leaderboard(tmp_path: Path) -> None:
    folders = [shutil.copytree(OLD / name, tmp_path / name) for name in ("v2", "v3")]
    board = collect(folders, tmp_path, [Failure(name="lost", reason="expected a model, got none")])
    page = write_leaderboard(board, tmp_path)
    made_by = Report.read(OLD / "v3").versions["xaibench"]
    check("leaderboard.txt", outline(page).replace(f"xaibench {_version()}", f"xaibench {made_by}"))
    check("leaderboard.json", (tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    assert json.loads((tmp_path / "leaderboard.json").read_text()) == board.model_dump(mode="json")


def test_the_card_of_a_report() -> None:
    check("card.md", standalone_card(Report.read(OLD / "v3")))


def _version() -> str:
    from importlib.metadata import version

    return version("xaibench")
