"""What jobs refuse, and folders of runs that are not as they should be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny_jobs import BRIEF, ended, tiny, until

from xaibench.errors import InputError
from xaibench.files import write_json
from xaibench.jobs import find, jobs, remove, resume, start, stop
from xaibench.jobs.locks import try_lock
from xaibench.places import runs_home

HOSTILE = ("", ".", "..", "../reports", "/etc", "a/b", ".lock", "a\0b", "x" * 200, "näme")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_ids_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        find(name)


def test_link_out_of_the_runs_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "job.json").write_text("{}", encoding="utf-8")
    runs_home().mkdir()
    (runs_home() / "link").symlink_to(outside)
    with pytest.raises(InputError, match="lies in"):
        find("link")
    assert jobs() == ()


@pytest.mark.parametrize(
    "arguments", [(), ("app",), ("train", "recipe.toml"), ("python",), ("--debug", "report"), ("report", "a\0b")]
)
def test_only_some_commands_run_as_jobs(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="expected"):
        start(arguments, kind="report", title="No")
    assert jobs() == ()


def test_hostile_kinds_and_titles(tmp_path: Path) -> None:
    for kind in ("../../etc", "Report", "", "a b"):
        with pytest.raises(InputError, match="expected a kind"):
            start(("report", "toy-image"), kind=kind, title="No")
    title = "<script>\n../../x\r" + "y" * 500
    job = start(BRIEF, kind="report", title=title)
    assert job.title == ("<script> ../../x " + "y" * 500)[:200]
    assert job.folder.parent == runs_home()
    ended(job)
    assert find(job.id).title == job.title


def test_removing_a_job_leaves_what_it_wrote(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("{}", encoding="utf-8")
    job = ended(start((*BRIEF, "--out", str(out)), kind="report", title="Gone", out=out))
    remove(job)
    assert not job.folder.exists()
    assert (out / "report.json").exists()
    with pytest.raises(InputError, match="expected a run in"):
        find(job.id)


def test_spoilt_folders_are_passed_over(tmp_path: Path) -> None:
    job = ended(start(BRIEF, kind="report", title="Good"))
    for name, text in (
        ("empty", ""),
        ("list", "[]"),
        ("half", '{"kind": "report"}'),
        ("wrong", '{"kind": 3, "out": []}'),
    ):
        (runs_home() / name).mkdir()
        (runs_home() / name / "job.json").write_text(text, encoding="utf-8")
    assert [each.id for each in jobs()] == [job.id]
    (job.folder / "progress.json").write_text('{"stages": [{"name": "x"}]}', encoding="utf-8")
    (job.folder / "log").unlink()
    assert find(job.id).stages == ()
    assert find(job.id).message == "it ended without saying why"


DEEP = "[" * 100_000
HUGE = "1" + 400 * "0"
STAGE = '"name": "x", "base": 0, "info": ""'
HALF = ', "info": "\\ud800"'
TOLD = {"kind": "report", "title": "", "arguments": ["report"], "out": None, "created": 1, "queued": 1}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            (name, text)
            for name in ("running.json", "ended.json", "progress.json")
            for text in (DEEP, "[]", "\xff", "{")
        ),
        ("running.json", '{"started": "x"}'),
        ("running.json", '{"started": NaN}'),
        ("ended.json", '{"ended": "x", "code": []}'),
        ("progress.json", '{"stages": [{"name": 1, "done": "x"}]}'),
        ("progress.json", '{"stages": [["x", 1, 2, "", 0, 0.0, 0.0]]}'),
        (
            "progress.json",
            '{"stages": [{"name": "x", "done": "1", "total": 2, "info": "", "base": 0, "began": 0, "changed": "y"}]}',
        ),
        ("running.json", f'{{"started": {HUGE}}}'),
        ("ended.json", f'{{"code": 1, "ended": {HUGE}}}'),
        ("progress.json", f'{{"stages": [{{{STAGE}, "done": 1, "total": 2, "began": {HUGE}, "changed": 1}}]}}'),
        ("progress.json", f'{{"stages": [{{{STAGE}, "done": -5, "total": 10, "began": 0, "changed": 1}}]}}'),
        ("progress.json", f'{{"stages": [{{{STAGE}, "done": {HUGE}, "total": {HUGE}0, "began": 0, "changed": 1}}]}}'),
        (
            "progress.json",
            f'{{"stages": [{{{STAGE.replace("x", HALF)}, "done": 1, "total": 2, "began": 0, "changed": 1}}]}}',
        ),
        ("job.json", DEEP),
        *(
            ("job.json", json.dumps({**TOLD, key: value}))
            for key, value in (
                ("created", 10**400),
                ("created", 1e18),
                ("queued", -1),
                ("arguments", []),
                ("arguments", "report"),
                ("arguments", ["app"]),
                ("arguments", ["report", "a\0b"]),
                ("arguments", ["report", 3]),
                ("title", "\ud800"),
                ("out", "a\0b"),
                ("out", ["x"]),
            )
        ),
        ("job.json", '{"kind": "report", "title": "", "arguments": [], "out": null, "created": NaN, "queued": 0}'),
    ],
)
def test_damaged_records_harm_no_other_run(name: str, text: str) -> None:
    good, spoilt = resting("good"), resting("spoilt")
    (spoilt / name).write_text(text, encoding="latin-1")
    found = {job.id: job for job in jobs()}
    assert good.name in found
    assert (spoilt.name in found) == (name != "job.json")
    for job in found.values():
        assert job.seconds >= 0
        assert job.stage is None
        assert not job.is_alive


def resting(name: str) -> Path:
    """The folder of a job that was stopped; it never had a process."""
    folder = runs_home() / name
    folder.mkdir(parents=True)
    told = {"kind": "report", "title": name, "arguments": ["report", "none"], "out": None, "created": 1, "queued": 1}
    write_json(folder / "job.json", told)
    write_json(folder / "running.json", {"started": 1.0, "process": 0})
    write_json(folder / "ended.json", {"code": 130, "ended": 2.0})
    return folder


def test_of_forecasts_that_are_damaged_nothing_is_believed() -> None:
    folder = resting("spoilt")
    told = {**TOLD, "title": "x" * 10**6, "expected": 10**400, "like": [{"pgd": 10**400}]}
    (folder / "job.json").write_text(json.dumps(told), encoding="utf-8")
    (found,) = jobs()
    assert (found.expected, found.like, found.title) == (None, (), "x" * 200)


def test_a_home_that_cannot_be_written_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path / "file" / "runs", Path("/proc/nope")):
        monkeypatch.setenv("XAIBENCH_RUNS_HOME", str(home))
        assert jobs() == ()
        with pytest.raises(InputError, match=f"the folder of runs, {home}, cannot be written: "):
            start(BRIEF, kind="report", title="No")


def test_a_start_that_fails_midway_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("too many processes")

    runs_home().mkdir()
    (runs_home() / "20260101-000000-report-0123abcd").mkdir()  # as an interrupted start leaves it
    (runs_home() / "notes").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("xaibench.jobs.queue.subprocess.Popen", refused)
        with pytest.raises(InputError, match="too many processes"):
            start(BRIEF, kind="report", title="No")
    assert [path.name for path in runs_home().iterdir() if path.is_dir()] == ["notes"]


def test_a_command_line_that_waits_or_runs_is_not_started_again(tmp_path: Path) -> None:
    first = tiny(tmp_path / "one")
    assert tiny(tmp_path / "one").id == first.id
    assert tiny(tmp_path / "two").id != first.id
    stop(first)
    assert tiny(tmp_path / "one").id != first.id, "the first is about to end"


def test_a_resumed_run_waits_for_its_process_to_be_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resting("stopped")
    lock = try_lock(folder / "lock")
    assert lock is not None
    monkeypatch.setattr("xaibench.jobs.queue._EXIT_SECONDS", 0.2)
    with pytest.raises(InputError, match="whose process is still there"):
        resume(find("stopped"))
    assert find("stopped").state == "stopped"
    monkeypatch.setattr("xaibench.jobs.queue._EXIT_SECONDS", 30)
    threading.Timer(0.5, os.close, [lock]).start()
    assert ended(resume(find("stopped"))).state == "failed"


def test_a_full_queue_takes_no_resumed_run_either(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resting("stopped")
    monkeypatch.setattr("xaibench.jobs.queue.MOST_WAITING", 0)
    with pytest.raises(InputError, match="wait for their turn already"):
        resume(find("stopped"))
    assert (folder / "ended.json").exists()


def test_oldest_ended_jobs_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xaibench.jobs.queue.MOST_KEPT", 1)
    first, second = (ended(start(BRIEF, kind="report", title=name)) for name in "ab")
    third = start(BRIEF, kind="report", title="c")
    assert [job.id for job in jobs()] == [third.id, second.id]
    assert not first.folder.exists()


def test_process_of_a_job_outlives_the_one_that_started_it(tmp_path: Path) -> None:
    job = tiny(tmp_path / "one")
    process = _process(job.id)
    assert os.getsid(process) == process != os.getsid(0)
    until(job, lambda job: job.state == "running")
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process) == min(own + 10, 19)


def _process(mark: str, timeout: float = 30.0) -> int:
    """The one process with this text in its command line, which it has only a moment after it was started."""
    end = time.monotonic() + timeout
    while not (found := _processes(mark)):
        assert time.monotonic() < end, f"no process has {mark} in its command line"
        time.sleep(0.01)
    (process,) = found
    return process


def _processes(mark: str) -> list[int]:
    """Processes with this text in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "cmdline").read_text(errors="replace"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


STUBBORN = """
import signal, sys, time
from pathlib import Path
from xaibench.jobs import worker
signal.signal(signal.SIGINT, signal.SIG_IGN)
worker._PATIENCE = 0.3
worker._heed(Path(sys.argv[1]))
"""


def test_what_does_not_heed_the_wish_to_stop_is_ended_by_force(tmp_path: Path) -> None:
    wish = tmp_path / "stop"
    process = subprocess.Popen([sys.executable, "-c", STUBBORN, str(wish)], start_new_session=True)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.8)
    wish.touch()
    assert process.wait(20) == -signal.SIGKILL


def test_resumed_job_expects_what_was_left_of_it(tmp_path: Path) -> None:
    job = ended(start(BRIEF, kind="report", title="Expected", expected=100.0))
    assert job.expected == 100.0
    assert job.left is None, "it has ended"
    again = resume(job)
    assert again.expected == pytest.approx(100.0 - job.seconds)
    ended(again)
    (job.folder / "job.json").write_text((job.folder / "job.json").read_text().replace(str(again.expected), '"soon"'))
    assert find(job.id).expected is None
