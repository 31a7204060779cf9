"""The help teaches by examples that are true, and the shell completes every kind of name without a framework."""

from __future__ import annotations

import inspect
import os
import pty
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from xaibench.cli import app, completion

ROOT = Path(__file__).resolve().parents[2]
XAIBENCH = [sys.executable, "-c", "from xaibench.cli import main; main()"]
NO_RESULT = {"app", "version"}
NEEDS_NO_SECOND_EXAMPLE = {"version"}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command, with those inside a group as ``group command``."""
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        yield name, command
        yield from ((f"{name} {inner}", one) for inner, one in getattr(command, "commands", {}).items())


COMMANDS = dict(commands())


def examples(command: Any) -> list[str]:
    """The command lines in a command's help."""
    return re.findall(r"\[dim\](xaibench .*?)\[/\]", inspect.getdoc(command.callback) or "")


def parse(line: str) -> None:
    """Read a command line as the command line itself does, without doing it; wrong usage raises."""
    name, *arguments = shlex.split(line.replace("\\\n", " "), comments=True)
    assert name == "xaibench"
    command = get_command(app)
    while arguments and arguments[0] in getattr(command, "commands", {}):
        command = command.commands[arguments.pop(0)]  # type: ignore[attr-defined]
    assert command.name in {text.split()[-1] for text in COMMANDS}, line
    command.make_context(command.name, arguments).close()


@pytest.mark.parametrize("name", ["data", "models"])
def test_a_group_shows_its_examples(name: str) -> None:
    assert f"xaibench {name} show digits" in (get_command(app).commands[name].help or "")  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", ["explain", "rank-explainers"])
def test_one_method_is_as_good_a_name_as_methods(command: str) -> None:
    for option in ("--method", "--methods"):
        context = COMMANDS[command].make_context(command, ["digits-cnn", option, "saliency"])
        assert context.params["methods"] == ["saliency"]


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NEEDS_NO_SECOND_EXAMPLE])
def test_every_command_teaches_by_examples_that_parse(name: str) -> None:
    found = examples(COMMANDS[name])
    assert len(found) >= 2
    for line in found:
        parse(line)
    assert any(line.startswith(f"xaibench {name}") for line in found)


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=lambda page: page.stem
)
def test_commands_of_the_documentation_parse(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"^```(?:sh|bash|console|yaml)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in re.findall(r"^(?:\s*(?:- run: |\$ ))?(xaibench [a-z].*)$", block, re.MULTILINE):
            parse(line.partition(" > ")[0].partition(" | ")[0])


def test_a_wrong_example_is_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse("xaibench report digits-cnn --epsilon 3")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in NO_RESULT])
def test_whatever_prints_results_prints_json(name: str) -> None:
    assert any("--json" in parameter.opts for parameter in COMMANDS[name].params)


def test_completion_offers_what_is_registered(monkeypatch: pytest.MonkeyPatch, toy_models: Path) -> None:
    from xaibench.architectures import architectures
    from xaibench.attacks import attacks
    from xaibench.data import data_names
    from xaibench.explainers import explainers
    from xaibench.metrics import quality_metrics
    from xaibench.robustness.ensembles import ensemble_names
    from xaibench.training import objectives
    from xaibench.zoo import model_names

    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    offered: dict[Callable[[str], list[str]], Any] = {
        completion.architecture: architectures.names(),
        completion.attack: [*attacks.names(), *ensemble_names()],
        completion.data_set: data_names(),
        completion.explainer: explainers.names(),
        completion.metric: quality_metrics.names(),
        completion.model: model_names(),
        completion.objective: objectives.names(),
    }
    for complete, names in offered.items():
        assert complete("") == sorted(names)


def test_completion_goes_on_after_a_comma_and_leaves_parameters_alone() -> None:
    assert completion.explainer("lrp,sal") == ["lrp,saliency"]
    assert completion.attack("pgd:steps=20,re") == []


def test_reports_are_completed_from_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reports" / "mine").mkdir(parents=True)
    (tmp_path / "reports" / "mine" / "report.json").touch()
    monkeypatch.chdir(tmp_path)
    assert completion.report("rep") == ["reports/mine"]
    assert "reports/mine" in completion.model_or_report("")


ASKED = {
    "bash": {"COMP_WORDS": "xaibench attack toy-image --attack apgd_d", "COMP_CWORD": "4"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "xaibench attack toy-image --attack apgd_d"},
    "fish": {
        "_TYPER_COMPLETE_ARGS": "xaibench attack toy-image --attack apgd_d",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    },
}


@pytest.mark.parametrize("shell", ASKED)
def test_a_shell_is_answered_at_once(shell: str) -> None:
    asked = {**os.environ, "_XAIBENCH_COMPLETE": f"complete_{shell}", **ASKED[shell]}
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        answered = subprocess.run(XAIBENCH, env=asked, check=True, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "apgd_dlr" in answered.stdout
        # The processor's time: a clock on the wall would measure what else the machine does.
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 0.6  # of processor time; 0.3 with nothing beside it


@pytest.mark.parametrize("shell", ASKED)
def test_every_shell_has_a_script(shell: str) -> None:
    environment = {**os.environ, "_XAIBENCH_COMPLETE": f"source_{shell}"}
    script = subprocess.run(XAIBENCH, env=environment, check=True, capture_output=True, text=True).stdout
    assert "_XAIBENCH_COMPLETE" in script


def test_a_pipe_gets_no_colour() -> None:
    for arguments in (["--help"], ["report", "--help"], ["models"]):
        shown = subprocess.run([*XAIBENCH, *arguments], check=True, capture_output=True, text=True)
        assert "\x1b" not in shown.stdout + shown.stderr


def shown_on_a_terminal(environment: dict[str, str]) -> bytes:
    """What the help of a command writes to a terminal that knows colours."""
    master, slave = pty.openpty()
    child = subprocess.Popen([*XAIBENCH, "report", "--help"], env=environment, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    try:
        while part := os.read(master, 65536):
            shown += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(master)
    assert child.wait() == 0
    return shown


@pytest.mark.parametrize("unwanted", [False, True])
def test_a_terminal_gets_colour_unless_it_is_unwanted(unwanted: bool) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    environment |= {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if unwanted else {})
    shown = shown_on_a_terminal(environment)
    assert b"xaibench report digits-cnn" in shown
    assert (re.search(rb"\x1b\[[0-9;]*3[0-9]m", shown) is None) == unwanted
