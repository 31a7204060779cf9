"""Progress that others can read: speed, time left, and the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xaibench.cli.console import ProgressDisplay
from xaibench.cli.stages import Stages, read_stages


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_is_of_the_speed_so_far() -> None:
    clock = Clock()
    stages = Stages(clock)
    clock.now = 110
    first = stages.update("pgd", 1, 5, "")
    assert first.seconds == 10
    assert first.seconds_left(110) == pytest.approx(40)
    assert first.seconds_left(125) == pytest.approx(25)
    assert first.seconds_left(1000) == 0
    clock.now = 140
    assert stages.update("pgd", 2, 5, "").seconds_left(140) == pytest.approx(60)
    assert stages.update("pgd", 5, 5, "").seconds_left(140) == 0
    clock.now = 150
    assert stages.update("verdict", 0, 3, "").seconds_left(150) is None
    clock.now = 156
    assert stages.update("verdict", 2, 3, "").seconds_left(156) == pytest.approx(8)


def test_what_an_earlier_run_had_finished_says_nothing_of_speed() -> None:
    clock = Clock()
    stages = Stages(clock)
    for done in (1, 2, 3):
        assert stages.update("pgd", done, 5, "", resumed=True).seconds_left(100) is None
    clock.now = 120
    assert stages.update("pgd", 4, 5, "").seconds_left(120) == pytest.approx(20)
    assert stages.update("train", 500, 1000, "").seconds_left(120) is None
    clock.now = 121
    assert stages.update("train", 510, 1000, "").seconds_left(121) == pytest.approx(49)


def test_the_display_writes_what_it_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.json"
    monkeypatch.setenv("XAIBENCH_PROGRESS", str(file))
    with ProgressDisplay() as display:
        display("clean", 1, 1)
        for done in range(1, 8):
            display("pgd", done, 10, {"standing": 10 - done})
    clean, pgd = read_stages(file)
    assert (clean.name, clean.is_done) == ("clean", True)
    assert (pgd.done, pgd.total, pgd.info) == (7, 10, "standing 3")
    assert os.listdir(tmp_path) == ["progress.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stages": [{"name": "x"}]}', '{"stages": 3}'])
def test_a_spoilt_file_holds_no_stages(tmp_path: Path, text: str) -> None:
    file = tmp_path / "progress.json"
    assert read_stages(file) == ()
    file.write_text(text, encoding="utf-8")
    assert read_stages(file) == ()


def test_plain_lines_say_the_time_left(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xaibench.cli.console._PLAIN_INTERVAL", 0.0)
    clock = Clock()
    with ProgressDisplay() as display:
        display._stages = Stages(clock)
        clock.now += 60
        monkeypatch.setattr("time.time", clock)
        display("pgd", 1, 3)
    assert capfd.readouterr().err == "pgd: 1/3, 2 min left\n"


def test_a_stage_that_begins_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.json"
    monkeypatch.setenv("XAIBENCH_PROGRESS", str(file))
    with ProgressDisplay() as display:
        for stage in ("attack", "proofs", "proofs"):
            display(stage, 0, 1, {})
            assert (read_stages(file)[-1].name, read_stages(file)[-1].is_done) == (stage, False)
            display(stage, 1, 1, {})
            assert read_stages(file)[-1].is_done
