"""What the command line promises whatever the command: exit codes, one-line errors, a quiet terminal."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import xaibench
from xaibench.cli import app, run
from xaibench.cli.console import ProgressDisplay, print_table, say
from xaibench.cli.main import _GOING_ON
from xaibench.errors import InputError

XAIBENCH = [sys.executable, "-c", "from xaibench.cli import main; main()"]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds a command named `toy` that runs a given function, for one test."""

    def add(body: Any) -> None:
        monkeypatch.setattr(app, "registered_commands", [*app.registered_commands])
        app.command("toy")(body)

    return add


def test_help_takes_less_than_half_a_second() -> None:
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*XAIBENCH, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # The processor's time: a clock on the wall would measure what else the machine does.
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert statistics.median(seconds) < 0.5


def test_help_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("evaluate", "report", "train", "models", "data", "card", "app"):
        arguments = [name, "show", "--help"] if name in ("models", "data") else [name, "--help"]
        assert run(arguments) == 0
        shown = capsys.readouterr().out
        assert f"xaibench {name}" in shown.partition("Usage")[2].partition("\n")[2]


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert "Usage" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["version"]) == 0
    assert capsys.readouterr().out == f"{xaibench.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "said", "helper"),
    [
        (["reprot"], "report", "xaibench"),
        (["report"], "Missing argument", "xaibench report"),
        (["report", "digits-cnn", "--epsilon", "1"], "--epsilon", "xaibench report"),
        (["report", "digits-cnn", "--eps", "much"], "--eps", "xaibench report"),
        (["models", "add", "hf:owner/name"], "--data", "xaibench models add"),
        (["models", "shwo"], "show", "xaibench models"),
        (["data", "show"], "Missing argument", "xaibench data show"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_help(
    arguments: list[str], said: str, helper: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("xaibench: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert f"(see `{helper} --help`)" in err


def test_bad_input_is_one_line(command: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def toy() -> None:
        raise InputError("expected one line,\ngot two")

    command(toy)
    assert run(["toy"]) == 2
    assert capfd.readouterr() == ("", "xaibench: error: expected one line, got two\n")


def test_unexpected_error_is_one_line_and_keeps_its_traceback(command: Any, capfd: pytest.CaptureFixture[str]) -> None:
    def toy() -> None:
        raise RuntimeError("the disk is on fire")

    command(toy)
    assert run(["toy"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "unexpected RuntimeError: the disk is on fire" in err
    log = Path(err.split()[-1])
    assert "Traceback" in log.read_text()
    log.unlink()
    with pytest.raises(RuntimeError):
        run(["--debug", "toy"])


@pytest.mark.parametrize(("name", "way"), [("compare", "--out"), ("search", "the same command"), ("train", "--resume")])
def test_commands_that_keep_their_work_say_so(name: str, way: str) -> None:
    assert way in _GOING_ON[name]


@pytest.mark.parametrize("name", ["toy", "train"])
def test_interruption_says_how_to_go_on(
    name: str, command: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def toy() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("xaibench.training.train", lambda *_, **__: toy())
    command(toy)
    assert run([name] if name == "toy" else [name, "recipe.toml"]) == 130
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "interrupted" in err
    assert ("--resume" in err) == (name == "train")


def test_third_party_chatter_does_not_reach_the_terminal(
    command: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def toy() -> None:
        import warnings

        warnings.warn("a library is unsure", stacklevel=1)
        os.write(2, b"I0000 a framework says hello from C++\n")
        say("a line for the user")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    command(toy)
    assert run(["toy"]) == 0
    assert capfd.readouterr() == ("", "a line for the user\n")
    assert list(tmp_path.iterdir()) == []


def test_quiet_gives_the_terminal_back(command: Any, capfd: pytest.CaptureFixture[str]) -> None:
    command(lambda: None)
    run(["toy"])
    os.write(2, b"heard again\n")
    assert capfd.readouterr().err == "heard again\n"


def test_a_closed_pipe_is_not_an_error() -> None:
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -m xaibench --help | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in result.stderr


def test_progress_without_a_terminal_is_a_line_now_and_then(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        for done in range(11):
            display("train [1]", done, 10, {"loss": 0.5, "accuracy": 1 / 3})
    assert capfd.readouterr().err.splitlines() == [
        "train [1]: 0/10 loss 0.5 accuracy 0.3333",
        "train [1]: 10/10 loss 0.5 accuracy 0.3333",
    ]


def test_a_finished_stage_is_told_once_unless_it_grows(capfd: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        for total in (1, 1, 1, 2, 2):
            display("explain", total, total)
        display("explain", 2, 2, {"drawn": "yes"})
    assert capfd.readouterr().err.splitlines() == ["explain: 1/1", "explain: 2/2", "explain: 2/2 drawn yes"]


def test_progress_on_a_terminal_shows_stage_count_and_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("xaibench.cli.console._terminal", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with ProgressDisplay() as display:
        display("attack [pgd]", 3, 8, {"robust_accuracy": 0.25})
    drawn = terminal.getvalue()
    assert "attack [pgd]" in drawn
    assert "3/8" in drawn
    assert "robust_accuracy 0.25" in drawn


def test_tables_take_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("[red]bold[/]", 0.5), ("b", 1)], header=("name", "value"))
    shown = capsys.readouterr().out
    assert "[red]bold[/]" in shown
    assert "0.5000" in shown
