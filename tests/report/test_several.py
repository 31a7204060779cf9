"""Reports of several models: one leaderboard, whatever becomes of single ones, and nothing made twice."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import factories
import pytest

import xaibench.report.schema
import xaibench.report.several
from xaibench.errors import InputError
from xaibench.evaluate import Plan
from xaibench.report import Report
from xaibench.report.leaderboard import Failure, Leaderboard, collect, render_leaderboard
from xaibench.report.several import run_several

OLD = Path(__file__).parent / "old"
QUICK: dict[str, Any] = {
    "data": "digits",
    "n": 12,
    "samples": 1,
    "attacks": ("fgsm",),
    "explainers": ("saliency",),
    "checks": False,
    "minimal": 0,
    "corruptions": 0,
    "assessed": 0,
    "proofs": 0,
}
PLANS: dict[str, Plan | Path] = {
    "factories:digits": Plan(model="factories:digits", **QUICK),
    "factories:nobody": Plan(model="factories:nobody", **QUICK),
    "factories:digits_keras": Plan(model="factories:digits_keras", **QUICK),
    "kept": OLD / "v3",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("reports")
    run_several(PLANS, home)
    return home


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports may state shares that their counts do not."""
    monkeypatch.setattr(xaibench.report.schema, "check_consistent", lambda *_: None)


def board_in(home: Path) -> Leaderboard:
    return Leaderboard.model_validate_json((home / "leaderboard.json").read_text())


def test_rows_hold_the_numbers_of_their_reports_in_groups_that_compare(home: Path) -> None:
    board = board_in(home)
    assert [[row.model for row in group.rows] for group in board.groups] == [
        ["factories:digits", "factories:digits_keras"],
        ["factories:digits"],
    ]
    assert [(group.norm, group.eps, group.n, group.attacks) for group in board.groups] == [
        ("linf", 0.1, 12, ("fgsm",)),
        ("linf", 0.06, 6, ("fgsm", "pgd:steps=3")),
    ]
    for row in board.groups[0].rows:
        report = Report.read((home / row.page).parent)
        robustness = report.results.robustness
        assert robustness is not None
        assert row.robust is not None
        assert (row.clean.value, row.clean.interval) == (
            report.results.clean.accuracy,
            report.results.clean.accuracy_interval,
        )
        assert row.robust.value == robustness.worst_case.accuracy[robustness.index]
        assert row.passes == sum(report.timings.passes["fgsm"])
        assert row.verdict is None


@pytest.mark.usefixtures("by_hand")
def test_the_most_robust_comes_first_and_of_equals_the_more_accurate(tmp_path: Path) -> None:
    document = json.loads((OLD / "v3" / "report.json").read_text())
    results = document["results"]
    shares = {"weak": (0.1, 0.9), "strong": (0.6, 0.7), "equal": (0.6, 0.8), "another": (0.6, 0.8)}
    for name, (robust, clean) in shares.items():
        document["model"]["name"], results["clean"]["accuracy"] = name, clean
        results["robustness"]["worst_case"]["accuracy"][1:] = [robust] * 3
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(document))
    (group,) = collect([tmp_path / name for name in shares], tmp_path).groups
    assert [row.model for row in group.rows] == ["another", "equal", "strong", "weak"]


@pytest.mark.usefixtures("by_hand")
def test_the_sentence_names_a_first_only_where_intervals_show_one(tmp_path: Path) -> None:
    document = json.loads((OLD / "v3" / "report.json").read_text())
    worst = document["results"]["robustness"]["worst_case"]

    def page(shares: dict[str, tuple[float, tuple[float, float]]]) -> str:
        for name, (robust, interval) in shares.items():
            document["model"]["name"] = name
            worst["accuracy"][1:], worst["interval"][1:] = [robust] * 3, [interval] * 3
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "report.json").write_text(json.dumps(document))
        return render_leaderboard(collect([tmp_path / name for name in shares], tmp_path))

    close = page({"one": (0.6, (0.4, 0.8)), "two": (0.5, (0.3, 0.7))})
    assert "one and two cannot be told apart" in close
    assert "withstands most" not in close
    assert "None withstands the attacks" in page({"one": (0.0, (0.0, 0.1)), "two": (0.0, (0.0, 0.1))})
    assert "one withstands most: 60\u00a0%" in page({"one": (0.6, (0.5, 0.7)), "two": (0.1, (0.05, 0.2))})


def test_reports_on_one_model_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    document = json.loads((OLD / "v3" / "report.json").read_text())
    names = {"first": "net", "second": "net", "third": "other", "far/again": "old", "near/again": "old"}
    for folder, name in names.items():
        document["model"]["name"] = name
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "report.json").write_text(json.dumps(document))
    board = collect([tmp_path / folder for folder in names], tmp_path)
    (group,) = board.groups
    assert group.names == ("net (first)", "net (second)", "old (far/again)", "old (near/again)", "other")
    page = render_leaderboard(board)
    assert "net (first), net (second), old (far/again) and 2 more cannot be told apart" in page
    assert [value for value in Values(page).values if value in group.names] == [*group.names]
    assert page.count(", in far/again<") == page.count(", in first<") == 1


def test_a_model_that_fails_is_listed_with_the_reason(home: Path) -> None:
    (failure,) = board_in(home).failures
    assert failure.name == "factories:nobody"
    assert "nobody" in failure.reason
    assert failure.reason in (home / "index.html").read_text().replace("&#39;", "'")


def test_what_is_there_is_not_made_again(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(home, tmp_path / "copy")
    shutil.rmtree(copy / "factories-digits_keras")
    made: list[str] = []
    real = xaibench.report.several.run

    def run(plan: Plan, **options: Any) -> Any:
        made.append(plan.model)
        return real(plan, **options)

    monkeypatch.setattr(xaibench.report.several, "run", run)
    board, _ = run_several(PLANS, copy)
    assert made == ["factories:nobody", "factories:digits_keras"]
    seen = [row.results_digest for group in board.groups for row in group.rows]
    assert seen == [row.results_digest for group in board_in(home).groups for row in group.rows]
    other = {"factories:digits": Plan(model="factories:digits", **{**QUICK, "eps": 0.05})}
    run_several(other, copy)
    assert made[2:] == ["factories:digits"]


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names of their own"):
        run_several({name: Plan(model=name) for name in ("a/net.pt2", "b/net.pt2")}, tmp_path)


class Values(HTMLParser):
    """What the columns sort by, and where rows lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.values: list[str | None] = []
        self.links: list[str | None] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        if "data-value" in values:
            self.values.append(values["data-value"])
        if tag == "a":
            self.links.append(values["href"])


def test_cells_sort_by_exact_numbers_and_rows_lead_to_their_reports(home: Path) -> None:
    page, board = Values((home / "index.html").read_text()), board_in(home)
    first = board.groups[0].rows[0]
    assert first.robust is not None
    assert page.values[:3] == [first.model, str(first.clean.value), str(first.robust.value)]
    assert {row.page for group in board.groups for row in group.rows} <= set(page.links)


def test_hostile_names_are_never_markup(tmp_path: Path) -> None:
    document = json.loads((OLD / "v3" / "report.json").read_text())
    document["model"]["name"] = document["data"]["name"] = factories.SCRIPT
    folder = tmp_path / "a b#<i>"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(document))
    board = collect([folder], tmp_path, [Failure(name=factories.SCRIPT, reason=factories.SCRIPT)])
    text = render_leaderboard(board)
    assert factories.SCRIPT not in text
    assert text.count("&lt;script&gt;alert(1)") >= 4
    assert "a%20b%23%3Ci%3E/index.html" in Values(text).links


def test_a_row_holds_the_verdict_of_its_self_checks(root: Path, tmp_path: Path) -> None:
    folder = root / "reports" / "digits-cnn"
    robustness = Report.read(folder).results.robustness
    assert robustness is not None
    assert robustness.checks is not None
    (group,) = collect([folder], tmp_path).groups
    assert group.rows[0].verdict == robustness.checks.verdict == "reliable"
