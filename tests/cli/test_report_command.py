"""``xaibench report`` on several models and on finished reports, with a PDF, and ``xaibench card`` of a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from xaibench.cli import run

QUICK = ("--n", "8", "--samples", "1", "--attack", "fgsm", "--proofs", "0", "--assessed", "0", "--no-checks")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the toy models at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    return tmp_path


def test_several_models_get_a_leaderboard_and_one_that_fails_does_not_lose_it(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "toy-image", "toy-imge", "toy-table", *QUICK, "--json"]) == 1
    printed, said = capfd.readouterr()
    board = json.loads(printed)
    assert [group["rows"][0]["model"] for group in board["groups"]] == ["toy-image", "toy-table"]
    assert "no report of toy-imge: unknown model 'toy-imge'; did you mean" in said
    assert json.loads((workplace / "reports" / "leaderboard.json").read_text()) == board
    before = (workplace / "reports" / "toy-image" / "report.json").read_bytes()
    assert run(["report", "toy-image", "toy-table", *QUICK]) == 0
    printed = capfd.readouterr().out
    assert printed.rstrip().endswith(str(workplace / "reports" / "index.html"))
    assert "toy-table" in printed
    assert (workplace / "reports" / "toy-image" / "report.json").read_bytes() == before


def test_a_finished_report_is_drawn_again_and_joins_a_leaderboard(
    workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "toy-image", *QUICK, "--out", "made"]) == 0
    page = workplace / "made" / "index.html"
    drawn = page.read_bytes()
    page.write_text("lost")
    assert run(["report", "made"]) == 0
    assert page.read_bytes() == drawn
    capfd.readouterr()
    assert run(["report", "made", "toy-table", *QUICK, "--out", "all", "--json"]) == 0
    pages = [row["page"] for group in json.loads(capfd.readouterr().out)["groups"] for row in group["rows"]]
    assert pages == ["../made/index.html", "toy-table/index.html"]


def test_without_a_browser_a_pdf_is_refused_before_any_work(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert run(["report", "toy-image", *QUICK, "--pdf"]) == 2
    assert "expected chromium, chrome or edge on PATH" in capfd.readouterr().err
    assert not (workplace / "reports").exists()


def test_a_pdf_is_printed_beside_the_page(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = workplace / "bin" / "chromium"
    browser.parent.mkdir()
    browser.write_text(
        "#!/bin/sh\nfor word; do case $word in\n"
        '--print-to-pdf=*) printf %s "$word" > "${word#--print-to-pdf=}";;\nesac; done\n'
    )
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", f"{browser.parent}:/usr/bin:/bin")
    assert run(["report", "toy-image", *QUICK, "--out", "made", "--pdf"]) == 0
    assert (workplace / "made" / "report.pdf").read_text().startswith("--print-to-pdf=")
    browser.write_text("#!/bin/sh\necho no display >&2\nexit 1\n")
    assert run(["report", "made", "--pdf"]) == 2


def test_a_card_gets_what_a_report_of_its_model_found(
    workplace: Path, toy_models: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "toy-image", *QUICK, "--out", "made"]) == 0
    capfd.readouterr()
    card = toy_models / "toy-image" / "README.md"
    before = card.read_text()
    assert run(["card", "--report", "made"]) == 0
    printed = capfd.readouterr().out
    assert yaml.safe_load(printed.split("---\n", 2)[1])["model-index"][0]["name"] == "toy-image"
    assert card.read_text() == before
    try:
        assert run(["card", "toy-image", "--report", "made"]) == 0
        section = printed[printed.index("## Evaluated by xaibench") :]
        assert card.read_text().endswith(section)
    finally:
        assert run(["card", "toy-image"]) == 0
    assert card.read_text() == before
    assert run(["card", "toy-table", "--report", "made"]) == 2
    assert "expected a report of toy-table" in capfd.readouterr().err
