"""The Reports page: what is there, what cannot be read and why, and a page that cannot reach the app."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import zipfile
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from xaibench.files import write_json
from xaibench.pages.reports.frame import framed
from xaibench.pages.reports.opened import _packed
from xaibench.pages.reports.shelf import LEADERBOARD, read_items
from xaibench.places import runs_home
from xaibench.report import Report
from xaibench.report.verify import verify

Opened = Callable[..., AppTest]


@pytest.fixture
def reports(root: Path, tmp_path: Path) -> Path:
    """The sample reports, in the folder that the app reads."""
    home = tmp_path / "reports"
    for name in ("digits-cnn", "digits-cnn-hardened"):
        shutil.copytree(root / "reports" / name, home / name)
    for name in ("index.html", "leaderboard.json"):
        shutil.copy(root / "reports" / name, home / name)
    return home


def test_the_table_has_the_figures_of_the_reports(opened: Opened, reports: Path) -> None:
    app = opened("reports")
    assert not app.exception
    report = Report.read(reports / "digits-cnn")
    assert report.results.robustness is not None
    table = app.dataframe[0].value.set_index("Name")
    row = table.loc["digits-cnn"]
    assert row["Clean"] == report.results.clean.accuracy
    assert (row["Proved"], row["Robust"]) == report.results.robustness.bracket
    assert row["Samples"] == report.data.n
    assert row["Date"] == report.timings.finished[:10]
    assert table.loc["digits-cnn-hardened", "Kind"] == "comparison"
    assert table.index[0] == LEADERBOARD


def test_what_was_not_tried_is_not_shown_as_none(opened: Opened, reports: Path) -> None:
    document = reports / "digits-cnn" / "report.json"
    told = json.loads(document.read_text(encoding="utf-8"))
    told["results"]["robustness"]["proved"] = None
    document.write_text(json.dumps(told), encoding="utf-8")
    (item,) = (item for item in read_items() if item.name == "digits-cnn")
    assert item.proved is None
    table = opened("reports").dataframe[0].value.set_index("Name")
    assert math.isnan(table.loc["digits-cnn", "Proved"])


def test_without_reports_it_says_how_to_get_one(opened: Opened) -> None:
    app = opened("reports")
    assert not app.exception
    assert "xaibench report" in app.info[0].value


@pytest.mark.parametrize("name", ["digits-cnn", "digits-cnn-hardened", LEADERBOARD])
def test_a_report_opens_by_its_address(opened: Opened, reports: Path, name: str) -> None:
    app = opened("reports", report=name)
    assert not app.exception
    assert not app.error
    assert app.subheader[0].value.replace("\\", "") == name
    assert len(app.get("iframe")) == 1


@pytest.mark.parametrize("name", ["../digits-cnn", "/etc", "%2e%2e", "a\0b", "<script>", "x" * 10_000, "report.json"])
def test_an_address_opens_nothing_else(opened: Opened, reports: Path, name: str) -> None:
    app = opened("reports", report=name, verified=name)
    assert not app.exception
    assert not app.subheader


def test_broken_folders_are_named_with_the_reason_and_harm_no_other(opened: Opened, reports: Path) -> None:
    def spoiled(name: str, text: str) -> None:
        (reports / name).mkdir()
        (reports / name / "report.json").write_text(text, encoding="utf-8")

    spoiled("cut", '{"schema_version": 3')
    spoiled("deep", "[" * 100_000)
    spoiled("future", '{"schema_version": 99}')
    spoiled("odd <script>alert(1)", "{}")
    (reports / "not-one").mkdir()
    (reports / "not-one" / "compare.json").write_text('{"names": 3}', encoding="utf-8")
    (reports / "endless").mkdir()
    endless = '{"names": ["a", "b"], "data": "d", "verdict": "v", "schema_version": 1e999}'
    (reports / "endless" / "compare.json").write_text(endless, encoding="utf-8")
    spoiled("late", (reports / "digits-cnn" / "report.json").read_text().replace('"finished": "20', '"finished": "x'))
    (reports / "elsewhere").symlink_to(reports.parent)
    (reports.parent / "report.json").write_text("{}", encoding="utf-8")
    (reports / "leak").mkdir()
    (reports / "leak" / "report.json").symlink_to("/etc/passwd")
    app = opened("reports")
    assert not app.exception
    assert "digits-cnn" in list(app.dataframe[0].value["Name"])
    said = [warning.value for warning in app.warning]
    for name in (
        "cut",
        "deep",
        "endless",
        "future",
        "late",
        "elsewhere",
        "leak",
        r"not\-one",
        r"odd \<script\>alert\(1\)",
    ):
        assert any(line.startswith(f"**{name}** cannot be read") for line in said), name
    assert not any("root:" in line for line in said)


def test_a_page_that_leads_elsewhere_is_not_shown(reports: Path) -> None:
    (reports / "digits-cnn" / "index.html").unlink()
    (reports / "digits-cnn" / "index.html").symlink_to("/etc/passwd")
    (item,) = (item for item in read_items() if item.name == "digits-cnn")
    assert item.kind is None
    assert "expected something that lies in" in item.reason


def test_the_page_of_a_report_is_shut_in() -> None:
    page = '<script>top.location="//evil"</script></iframe>"\'&'
    frame = framed(page, '"><script>')
    assert frame.count("<iframe") == 1
    assert 'sandbox="allow-scripts"' in frame
    assert "default-src 'none'" in frame
    assert unescape(frame.split('srcdoc="')[1].split('"')[0]) == page
    assert "<script>" not in frame


def test_everything_of_a_report_is_in_its_archive(reports: Path) -> None:
    (item,) = (item for item in read_items() if item.name == "digits-cnn")
    with zipfile.ZipFile(io.BytesIO(_packed(item.name, item.files))) as archive:
        assert set(archive.namelist()) == {f"digits-cnn/{name}" for name in os.listdir(reports / "digits-cnn")}
        assert archive.read("digits-cnn/report.json") == (reports / "digits-cnn" / "report.json").read_bytes()


def test_verifying_starts_a_run_and_shows_what_it_found(
    opened: Opened, reports: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(root / "models"))
    app = opened("reports", report="digits-cnn")
    button = next(each for each in app.button if each.label == "Verify its claims")
    button.click().run()
    assert not app.exception
    from xaibench.jobs import jobs

    (job,) = jobs("verify")
    assert job.arguments == ("verify", str(reports / "digits-cnn"))
    assert app.query_params["verified"] == job.id
    next(each for each in app.button if each.label == "Verify its claims").click().run()
    assert [each.id for each in jobs("verify")] == [job.id], "one at a time"
    again = opened("reports", report="digits-cnn")
    assert again.button(key=f"stop-{job.id}").label == "Stop", "a page opened anew finds it too"
    again.button(key=f"stop-{job.id}").click().run()
    assert jobs("verify")[0].stopping or not jobs("verify")[0].is_alive


def test_what_a_verification_found_is_of_the_report_as_it_was(
    opened: Opened, reports: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(root / "models"))
    folder, document = runs_home() / "verified", reports / "digits-cnn" / "report.json"
    told = {"kind": "verify", "title": "V", "arguments": ["verify", str(reports / "digits-cnn")], "out": None}
    moment = document.stat().st_mtime + 1
    write_json(folder / "job.json", {**told, "created": moment, "queued": moment})
    write_json(folder / "ended.json", {"code": 0, "ended": moment})
    claim = next(verify(reports / "digits-cnn"))
    (folder / "result").write_text(f"✓ {claim.name}: {claim.found}\n✓ clean: 1\n", encoding="utf-8")
    said = [one.value for one in opened("reports", report="digits-cnn", verified="verified").markdown]
    assert any("Every claim holds" in line for line in said)
    write_json(folder / "ended.json", {"code": 130, "ended": moment})
    said = [one.value for one in opened("reports", report="digits-cnn", verified="verified").markdown]
    assert any(line.startswith("**Stopped**") for line in said)
    (folder / "result").write_text("", encoding="utf-8")
    os.utime(document, (moment + 5, moment + 5))
    app = opened("reports", report="digits-cnn", verified="verified")
    assert not any("claim" in one.value for one in app.markdown)
    assert any("has changed since" in one.value for one in app.info)


@pytest.mark.parametrize("name", ["index.html", "report.json", "adversarials.safetensors", "attributions.safetensors"])
def test_what_a_verification_found_is_of_all_files_whatever_their_times(
    opened: Opened, reports: Path, root: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(root / "models"))
    folder, report = runs_home() / "verified", reports / "digits-cnn"
    told = {"kind": "verify", "title": "V", "arguments": ["verify", str(report)], "out": None}
    moment = max(path.stat().st_mtime for path in report.iterdir()) + 1
    write_json(folder / "job.json", {**told, "created": moment, "queued": moment})
    write_json(folder / "ended.json", {"code": 0, "ended": moment})
    (folder / "result").write_text(f"✓ document: {next(verify(report)).found}\n", encoding="utf-8")
    app = opened("reports", report="digits-cnn", verified="verified")
    assert any("Every claim holds" in one.value for one in app.markdown)
    before = (report / name).stat()
    content = (report / name).read_bytes()
    other = content.replace(b"99", b"98", 1) if name.endswith(("html", "json")) else content[:-1] + b"?"
    assert other != content
    (report / name).write_bytes(other)
    os.utime(report / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    app = opened("reports", report="digits-cnn", verified="verified")
    assert not app.exception
    assert not any("Every claim holds" in one.value for one in app.markdown)
    assert any("has changed since" in one.value for one in app.info)


def test_a_report_on_code_of_somebody_is_not_run(opened: Opened, reports: Path) -> None:
    path = reports / "digits-cnn" / "report.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["plan"]["model"] = "os:getcwd"
    path.write_text(json.dumps(told), encoding="utf-8")
    app = opened("reports", report="digits-cnn")
    assert not app.exception
    assert "Verify its claims" not in [each.label for each in app.button]
