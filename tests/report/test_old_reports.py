"""Reports of every version of the schema, as they were written then: they open, are drawn, and are checked or refused.

``old/`` holds them without their pages, which travel with the charts' library.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from xaibench.errors import InputError
from xaibench.evaluate import run
from xaibench.evaluate.headline import headline
from xaibench.evaluate.summary import in_singular
from xaibench.report import Report
from xaibench.report.claims import agree
from xaibench.report.leaderboard import collect
from xaibench.report.verify import verify
from xaibench.report.write import redraw

OLD = Path(__file__).parent / "old"
VERSIONS = ("v1", "v2", "v3")


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return shutil.copytree(OLD / request.param, tmp_path / "old")  # type: ignore[no-any-return]


@pytest.mark.parametrize("folder", VERSIONS, indirect=True)
def test_an_old_report_opens_and_is_drawn_with_its_numbers(folder: Path) -> None:
    before = json.loads((folder / "report.json").read_text())
    page = redraw(folder).read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    for sentence in headline(Report.read(folder)).sentences:
        assert sentence in page
    assert before["results_digest"] in page
    after = json.loads((folder / "report.json").read_text())
    before["timings"].pop("page_digest", None)
    after["timings"].pop("page_digest", None)
    assert after == before


@pytest.mark.parametrize("folder", ["v1", "v2"], indirect=True)
def test_a_report_that_lacks_what_its_claims_follow_from_is_not_verified(folder: Path) -> None:
    with pytest.raises(InputError, match="expected a report of version 3"):
        next(verify(folder))


@pytest.mark.parametrize("folder", ["v3"], indirect=True)
def test_a_report_of_this_version_is_verified_and_fulfils_the_schema(folder: Path, root: Path) -> None:
    redraw(folder)
    assert [claim.name for claim in verify(folder, factory="factories:digits")][-1] == "page"
    schema = json.loads((root / "docs" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads((folder / "report.json").read_text()))


def test_the_same_plan_still_finds_what_it_found_then() -> None:
    then = Report.read(OLD / "v3")
    now = run(then.plan)
    agree("results", then.results.model_dump(mode="json"), now.results.model_dump(mode="json"))
    assert in_singular(now.summary) == in_singular(then.summary)


def test_reports_of_all_versions_stand_on_one_leaderboard(tmp_path: Path) -> None:
    board = collect([OLD / version for version in VERSIONS], tmp_path)
    (group,) = board.groups
    assert [row.model for row in group.rows] == ["factories:digits"] * 3
    assert len({row.clean.value for row in group.rows}) == 1
