"""Jobs in real processes: they go through, fail with a line, stop, resume, are killed, and wait their turn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_jobs import TINY, ended, kill, tiny, until

from xaibench.errors import InputError
from xaibench.jobs import Job, find, jobs, remove, resume, start, stop
from xaibench.report import Report


def under_way(job: Job) -> bool:
    return any(stage.done for stage in job.stages)


def test_job_goes_through_its_states_to_the_report(tmp_path: Path) -> None:
    first, second = tiny(tmp_path / "one"), start(("evaluate", "toy-image", "--json"), kind="evaluate", title="Next")
    assert first.state == "waiting"
    running = until(first, lambda job: job.state == "running")
    assert find(second.id).state == "waiting"
    assert [job.id for job in jobs()] == [second.id, first.id]
    assert [job.id for job in jobs("report")] == [first.id]
    assert running.seconds >= 0
    done = ended(first)
    assert done.state == "finished", done.log
    report = Report.read(tmp_path / "one")
    assert done.message == " ".join(report.summary.split("\n")[0].split())[:400]
    assert {stage.name for stage in done.stages} >= {"clean", "fgsm", "pgd:steps=3"}
    assert all(stage.is_done for stage in done.stages)
    assert done.seconds_left is None
    after = ended(second)
    assert after.state == "finished"
    assert json.loads(after.result)["model"] == "toy-image"
    began = [json.loads((job.folder / "running.json").read_text())["started"] for job in (first, second)]
    first_end = json.loads((first.folder / "ended.json").read_text())["ended"]
    assert began[1] >= first_end > began[0]


def test_failure_says_why_in_the_line_of_the_command() -> None:
    job = ended(start(("report", "toy-imagination"), kind="report", title="Unknown"))
    assert job.state == "failed"
    assert job.message.startswith("unknown model 'toy-imagination'; did you mean 'toy-image'")
    assert "xaibench: error" in job.log


@pytest.mark.parametrize("how", ["stopped", "interrupted"])
def test_resumed_job_gives_the_results_of_an_undisturbed_one(tmp_path: Path, how: str, toy_report: Report) -> None:
    out = tmp_path / "report"
    job = until(tiny(out, "--n", "300"), under_way)
    stop(job) if how == "stopped" else kill(job)
    job = ended(job)
    assert job.state == how
    assert not (out / "report.json").exists()
    assert list(out.glob(".run/*/plan.json"))
    again = resume(job)
    assert again.id == job.id
    assert again.is_alive
    done = ended(again)
    assert done.state == "finished", done.log
    assert any("resumed" in stage.info for stage in done.stages)
    assert Report.read(out).results_digest == toy_report.results_digest


@pytest.fixture(scope="module")
def toy_report(toy_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """What the resumed jobs should give."""
    from xaibench.cli.main import run

    out = tmp_path_factory.mktemp("undisturbed") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
        assert run([*TINY, "--n", "300", "--out", str(out)]) == 0
    return Report.read(out)


def test_waiting_job_stops_at_once_and_the_next_keeps_its_place(tmp_path: Path) -> None:
    first, second, third = (tiny(tmp_path / name) for name in ("one", "two", "three"))
    stop(second)
    assert find(second.id).stopping
    assert ended(second).state == "stopped"
    assert not find(second.id).stopping
    stop(first)
    ended(first)
    until(third, lambda job: job.state == "running")


def test_more_jobs_than_may_wait_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xaibench.jobs.queue.MOST_WAITING", 1)
    until(tiny(tmp_path / "one"), lambda job: job.state == "running")
    tiny(tmp_path / "two")
    with pytest.raises(InputError, match="1 runs wait for their turn already"):
        tiny(tmp_path / "three")
    assert len(jobs()) == 2


def test_a_living_job_is_neither_resumed_nor_removed(tmp_path: Path) -> None:
    job = tiny(tmp_path / "one")
    for act in (resume, remove):
        with pytest.raises(InputError, match="has ended"):
            act(job)
    assert find(job.id).is_alive
