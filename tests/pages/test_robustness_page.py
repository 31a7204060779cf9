"""The Robustness page: what it says is what the report holds; runs in all their states; nothing measured; bad names."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from streamlit.testing.v1 import AppTest

from xaibench.evaluate import Plan
from xaibench.jobs import Job, find, jobs, stop
from xaibench.jobs.locks import try_lock
from xaibench.places import reports_home, runs_home
from xaibench.reading import percent
from xaibench.report import Report, run

Opened = Callable[..., AppTest]


@pytest.fixture(scope="module")
def measured(toy_models: Path, tmp_path_factory: pytest.TempPathFactory, plan_of: Callable[..., Plan]) -> Path:
    """A report on `toy-image` with every part of the page in it."""
    out = tmp_path_factory.mktemp("measured") / "toy"
    fields = {"curve": (0.05, 0.2), "attacks": ("fgsm", "verdict-quick"), "proofs": 10, "minimal": 8, "corruptions": 4}
    run(plan_of(toy_models / "toy-image", checks=True, **fields), out=out)
    return out


@pytest.fixture
def report(measured: Path) -> Report:
    """The report, in the folder of reports."""
    shutil.copytree(measured, reports_home() / "toy")
    return Report.read(measured)


def address(app: AppTest, key: str) -> str | None:
    """A value of the address, which the test's app keeps as a list until the page writes it."""
    value = app.query_params.get(key)
    return value[0] if isinstance(value, list) else value


def texts(app: AppTest) -> str:
    """All that the page says in Markdown, without the marks that keep data from being read as such."""
    elements = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.subheader]
    return "\n".join(element.value for element in elements).replace("\\", "")


def test_page_says_what_the_report_holds(opened: Opened, report: Report) -> None:
    app = opened("robustness", model="toy-image")
    assert not app.exception
    robustness = report.results.robustness
    assert robustness is not None
    proved, left = robustness.bracket
    clean = report.results.clean.accuracy
    said = texts(app)
    assert f"toy-image gets {100 * clean:.1f} %".replace(".0 %", " %") in said
    assert f"at most {100 * left:.1f} %".replace(".0 %", " %") in said
    assert app.get("plotly_chart")[0].proto.alt.count(" at ") == len(robustness.radii)
    rows = app.dataframe[0].value
    assert next(iter(rows["Broken"])) == robustness.attacks[0].broken
    assert [row.gain for row in robustness.attacks] == [
        gain for name, gain in zip(rows["Attack"], rows["Added"], strict=True) if not name.startswith(" ")
    ]
    assert robustness.checks is not None
    assert robustness.checks.verdict in said
    (bar,) = [html.proto.body for html in app.get("html") if "role=" in html.proto.body]
    shares = (proved, left - proved, clean - left, 1 - clean)
    assert [f"{100 * share:.3f}" for share in shares if share > 1e-12] == re.findall(r"width:([\d.]+)%", bar)


@pytest.mark.parametrize("section", ["attacks", "classes", "samples", "checks", "distances", "corruptions"])
def test_every_part_is_drawn_and_in_the_address(opened: Opened, report: Report, section: str) -> None:
    app = opened("robustness", model="toy-image", section=section)
    assert not app.exception
    assert address(app, "section") == (None if section == "attacks" else section)
    said = texts(app)
    robustness = report.results.robustness
    assert robustness is not None
    if section == "classes":
        weakest = min(robustness.per_class, key=lambda one: 1 if one.accuracy is None else one.accuracy)
        assert f"falls most easily: {weakest.robust} of {weakest.support}" in said
    if section == "distances":
        assert robustness.minimal is not None
        assert f"of {robustness.minimal.n} samples" in said
    if section == "checks":
        assert robustness.checks is not None
        assert len(app.dataframe[0].value) == len(robustness.checks.outcomes)
    if section == "corruptions":
        assert report.results.corruptions is not None
        assert f"to {percent(report.results.corruptions.mean)}" in said


def test_broken_samples_lead_to_the_attack_on_them(opened: Opened, report: Report) -> None:
    from safetensors.torch import load_file

    from xaibench.pages.robustness.broken import broken_samples

    robustness = report.results.robustness
    assert robustness is not None
    tensors = load_file(reports_home() / "toy" / "adversarials.safetensors")
    found = broken_samples(robustness, tensors)
    right, left = robustness.worst_case.robust[0], robustness.worst_case.robust[robustness.index]
    assert len(found) == right - left > 0
    assert [one.radius for one in found] == sorted(one.radius for one in found)
    for one in found:
        assert one.prediction != one.label == int(tensors["labels"][one.place])
        change = (tensors[f"adversarials/{one.attack}"] - tensors["inputs"])[one.place].abs().max()
        assert float(change) <= one.radius + 1e-6
    app = opened("robustness", model="toy-image", section="samples")
    app.button(f"try-{found[0].row}").click().run()
    assert not app.exception
    assert address(app, "sample") == str(found[0].row)


def test_without_a_report_the_card_speaks_and_a_run_can_be_started(opened: Opened) -> None:
    app = opened("robustness", model="toy-table", n="12", preset="quick", against="fgsm", eps="0.05")
    assert not app.exception
    assert "There is no report on this model yet" in texts(app)
    app.button("start").click().run()
    assert not app.exception
    (job,) = jobs("report")
    try:
        assert address(app, "run") == job.id
        assert job.out is not None
        assert job.out.parent == reports_home()
        assert job.arguments[:2] == ("report", "toy-table")
        told = dict(zip(job.arguments[2::2], job.arguments[3::2], strict=False))
        assert (told["--n"], told["--eps"], told["--attack"], told["--norm"]) == ("12", "0.05", "fgsm", "linf")
        assert "--corruptions" not in told
        assert (job.expected, job.like) == (None, ()), "no report tells"
    finally:
        stop(job)
        end = time.monotonic() + 30
        while find(job.id).is_alive and time.monotonic() < end:
            time.sleep(0.05)


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A run that this process pretends to be, at a moment at which its clocks stand still."""
    folder = runs_home() / "20260101-000000-report-0a1b2c3d"
    folder.mkdir(parents=True)
    now = time.time()
    for module in ("xaibench.jobs.job", "xaibench.cli.stages"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(time=lambda: now))
    told = {"kind": "report", "title": "*toy* <b>run</b>", "arguments": ["report", "toy-image"], "out": None}
    (folder / "job.json").write_text(json.dumps({**told, "created": now, "queued": now}))
    (folder / "running.json").write_text(json.dumps({"started": now - 60, "process": 1}))
    stages = [
        {"name": "pgd", "done": 2, "total": 2, "info": "", "base": 0, "began": now - 50, "changed": now - 20},
        {"name": "verdict", "done": 1, "total": 3, "info": "standing 7", "base": 0, "began": now - 20, "changed": now},
    ]
    (folder / "progress.json").write_text(json.dumps({"stages": stages}))
    lock = try_lock(folder / "lock")
    assert lock is not None
    yield find(folder.name)
    os.close(lock)


def test_a_run_shows_its_stage_and_the_time_left(opened: Opened, running: Job) -> None:
    app = opened("robustness", model="toy-image", run=running.id)
    assert not app.exception
    (bar,) = app.get("progress")
    text = bar.proto.text.replace("\\", "")
    assert "Stage 2, Verdict: 1 of 3" in text
    assert "standing 7" in text
    assert "about 40 s left in this stage" in text
    assert bar.proto.value == 33
    assert "**\\*toy\\* \\<b\\>run\\</b\\>**" in [element.value for element in app.markdown]
    order = [element.type for element in app.main if element.type in ("progress", "number_input")]
    assert order[0] == "progress", "the run stands above what starts another"
    app.button(f"stop-{running.id}").click().run()
    assert find(running.id).stopping
    assert app.button(f"stop-{running.id}").disabled
    assert address(app, "run") == running.id


def test_a_run_that_goes_on_is_found_where_the_address_names_none(opened: Opened, running: Job) -> None:
    app = opened("robustness", model="toy-image")
    assert not app.exception
    assert app.get("progress")
    assert "There is no report" not in texts(app)
    assert not next(one for one in app.expander if one.label == "Measure").proto.expanded
    assert address(app, "run") == running.id, "so that its end is said, too"
    app = opened("robustness", model="toy-table")
    assert not app.get("progress"), "it is of another model"
    assert address(app, "run") is None


def test_what_the_address_names_goes_before_a_run_that_goes_on(
    opened: Opened, running: Job, report: Report, measured: Path
) -> None:
    shutil.copytree(measured, reports_home() / "earlier")
    os.utime(reports_home() / "earlier" / "report.json", (1, 1))
    ended = runs_home() / "20260101-000000-report-ffffffff"
    shutil.copytree(running.folder, ended)
    (ended / "ended.json").write_text(json.dumps({"code": 0, "ended": time.time()}))
    for choices, job, shown in (
        ({"run": ended.name}, ended.name, "toy"),
        ({"evaluation": "earlier"}, None, "earlier"),
        ({"evaluation": "toy"}, running.id, "toy"),
    ):
        app = opened("robustness", model="toy-image", **choices)
        assert not app.exception
        assert (address(app, "run"), address(app, "evaluation")) == (job, shown)
        assert len(app.get("progress")) == (job == running.id)


@pytest.mark.parametrize(
    ("expected", "says", "share"),
    [
        (100.0, "about 40 s left · ", 60),
        (59.0, "about 40 s left in this stage", 33),
        (None, "about 40 s left in this stage", 33),
    ],
)
def test_a_run_tells_what_is_left_of_the_whole_while_that_was_expected(
    opened: Opened, running: Job, expected: float | None, says: str, share: int
) -> None:
    told = json.loads((running.folder / "job.json").read_text())
    (running.folder / "job.json").write_text(json.dumps({**told, "expected": expected}))
    (bar,) = opened("robustness", model="toy-image", run=running.id).get("progress")
    assert says in bar.proto.text.replace("\\", "")
    assert bar.proto.value == share


def test_of_a_stage_that_drags_after_its_first_units_no_end_is_told(opened: Opened, running: Job) -> None:
    path = running.folder / "progress.json"
    told = json.loads(path.read_text())
    now = told["stages"][-1]["changed"]
    told["stages"][-1] |= {"began": now - 3000, "changed": now - 2980}
    path.write_text(json.dumps(told))
    (bar,) = opened("robustness", model="toy-image", run=running.id).get("progress")
    assert "Stage 2, Verdict: 1 of 3 · standing 7 · 60 s so far" in bar.proto.text.replace("\\", "")
    assert bar.proto.value == 33


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"expected": 99.0, "like": [{"pgd": 15.0, "verdict": 100.0, "proofs": 10.0}]}, "about 3 min left"),
        ({"like": [{"pgd": 15.0, "verdict": 100.0}]}, "60 s to 8 min left, judged by other models"),
        ({"like": [{"pgd": 15.0, "verdict": 12.5, "proofs": 2.5}]}, "· at least 2 s left"),
        ({"like": [{"pgd": 15.0, "verdict": 12.5}]}, "standing 7 · 60 s so far"),
        (
            {"expected": 99.0, "like": [{"pgd": 15.0, "verdict": 31.0}, {"pgd": 15.0, "verdict": 85.0}]},
            "42 s to 2 min left ·",
        ),
        ({"expected": 99.0, "like": [{"pgd": 15.0, "verdict": 5.0, "proofs": 10.0}]}, "of up to 4, Verdict"),
        ({"expected": 99.0, "like": [{"pgd": 15.0, "verdict": 5.0, "proofs": 10.0}]}, "at least 20 s left"),
        ({"expected": 99.0, "like": "soon"}, "about 39 s left"),
    ],
)
def test_a_run_is_judged_by_the_shape_of_earlier_ones(
    opened: Opened, running: Job, told: dict[str, object], says: str
) -> None:
    lead = {"name": "clean", "done": 1, "total": 1, "info": "", "base": 0, "began": 1.0, "changed": 2.0}
    progress = json.loads((running.folder / "progress.json").read_text())
    progress["stages"][-1]["done"] = 0
    (running.folder / "progress.json").write_text(json.dumps({"stages": [lead, *progress["stages"]]}))
    job = json.loads((running.folder / "job.json").read_text())
    (running.folder / "job.json").write_text(json.dumps({**job, **told}))
    (bar,) = opened("robustness", model="toy-image", run=running.id).get("progress")
    text = bar.proto.text.replace("\\", "")
    assert says in text, text


@pytest.mark.parametrize(
    ("ended", "wish", "says"),
    [
        ({"code": 2}, False, "Failed after 1 min: no such thing"),
        ({"code": 130}, True, "Stopped after 1 min"),
        (None, False, "Interrupted after"),
        ({"code": 0}, False, "Finished after 1 min"),
    ],
)
def test_an_ended_run_says_how(
    opened: Opened, running: Job, ended: dict[str, int] | None, wish: bool, says: str
) -> None:
    folder = runs_home() / "20260101-000000-report-ffffffff"
    shutil.copytree(running.folder, folder)
    (folder / "log").write_text("xaibench: error: no such thing\n")
    if wish:
        (folder / "stop").touch()
    if ended is not None:
        (folder / "ended.json").write_text(json.dumps({**ended, "ended": time.time() + 1}))
    app = opened("robustness", model="toy-image", run=folder.name)
    assert not app.exception
    assert says.replace("1 min", "61 s") in texts(app) or says in texts(app)
    assert any(button.key == f"resume-{folder.name}" for button in app.button) == (ended != {"code": 0})


@pytest.mark.parametrize("run", ["../../etc/passwd", "20260101-000000-report-00000000", "<script>alert(1)</script>"])
def test_a_run_that_is_not_there_is_said_and_dropped(opened: Opened, run: str) -> None:
    app = opened("robustness", model="toy-image", run=run)
    assert not app.exception
    assert "is not here any more" in app.warning[0].value
    assert address(app, "run") is None


@pytest.mark.parametrize("name", ["../../etc", "none", "<b>x</b>", "old"])
def test_reports_that_cannot_be_opened_are_said(opened: Opened, report: Report, name: str) -> None:
    (reports_home() / "old").mkdir()
    (reports_home() / "old" / "report.json").write_text('{"schema_version": 0}', encoding="utf-8")
    app = opened("robustness", model="toy-image", evaluation=name)
    assert not app.exception
    assert "There is no report" in app.info[0].value
    assert "<b>" not in app.info[0].value.replace("\\<b", "")
    assert str(reports_home()) not in texts(app)
    assert app.dataframe


def test_no_models_are_said(opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "none"))
    app = opened("robustness")
    assert not app.exception
    assert "There are no models" in app.info[0].value
