"""Killed at any moment and started again, a run ends with the results of an unbroken one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import resumable

from xaibench.errors import InputError
from xaibench.evaluate import Plan, run
from xaibench.report import write_report

HERE = Path(__file__).parent


def resumable_process(how: str, out: Path, count: int) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(HERE), str(HERE.parent)])
    return subprocess.run(
        [sys.executable, str(HERE / "resumable.py"), how, str(out), str(count)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def killed_run(out: Path, shards: int) -> None:
    ended = resumable_process("half", out, shards)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def shard_times(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in out.glob(".run/*/[!.]*.safetensors")}


def without_timings(out: Path) -> dict[str, Any]:
    report = json.loads((out / "report.json").read_text())
    del report["timings"]
    return report


@pytest.mark.parametrize("shards", [2, 7])
def test_a_killed_run_resumes_and_ends_like_an_unbroken_one(tmp_path: Path, shards: int) -> None:
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    killed_run(broken, shards)
    before = shard_times(broken)
    assert len(before) == shards
    assert json.loads(next(broken.glob(".run/*/plan.json")).read_text())["eps"] == 0.1
    resumed: list[bool] = []

    def progress(stage: str, done: int, total: int, info: Mapping[str, Any]) -> None:
        resumed.append("resumed" in info)

    evaluation = run(resumable.PLAN, out=broken, progress=progress)
    assert resumed == [position < shards for position in range(len(resumed))]
    assert before.items() <= shard_times(broken).items()
    write_report(evaluation, broken)
    write_report(run(resumable.PLAN, out=whole), whole)
    assert without_timings(broken) == without_timings(whole)
    for name in ("adversarials.safetensors", "attributions.safetensors"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(path.name for path in broken.iterdir()) == sorted(path.name for path in whole.iterdir())
    assert len(list(broken.iterdir())) == 4


def without_times(page: Path) -> str:
    text = re.sub(r"<li>Work: .*?</li>|<time .*?</time>", "", page.read_text())
    return re.sub(r"(<td>[\d,]+</td>){2}<td>[\d.]+</td></tr>", "", text)


def test_a_report_killed_at_any_of_20_random_moments_ends_like_a_whole_one(tmp_path: Path) -> None:
    """The moments are spread evenly over the whole run, the writing of its files included."""
    ended = resumable_process("often", tmp_path, 20)
    assert ended.returncode == 0, ended.stderr
    progress = {line.partition(" True ")[2] for line in ended.stdout.splitlines()}
    assert len(progress) >= 5, ended.stdout
    whole = tmp_path / "whole"
    names = sorted(path.name for path in whole.iterdir())
    assert len(names) == 4
    for folder in (tmp_path / str(kill) for kill in range(20)):
        assert sorted(path.name for path in folder.iterdir()) == names
        assert without_timings(folder) == without_timings(whole)
        assert without_times(folder / "index.html") == without_times(whole / "index.html")
        for name in ("adversarials.safetensors", "attributions.safetensors"):
            assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_a_damaged_shard_is_made_again(tmp_path: Path) -> None:
    first = run(resumable.PLAN, out=tmp_path)
    path = next(tmp_path.glob(".run/*/attack-1-20.safetensors"))
    path.write_bytes(path.read_bytes()[:-20])
    states: dict[tuple[str, int], bool] = {}

    def progress(stage: str, done: int, total: int, info: Mapping[str, Any]) -> None:
        states.setdefault((stage, done), "resumed" in info)

    again = run(resumable.PLAN, out=tmp_path, progress=progress)
    assert again.digest == first.digest
    assert [place for place, resumed in states.items() if not resumed] == [("pgd:steps=3", 2)]


@pytest.mark.parametrize("change", [{"eps": 0.05}, {"seed": 1}, {"n": 40}, {"attacks": ("fgsm", "pgd:steps=4")}])
def test_shards_of_another_plan_are_never_used(tmp_path: Path, change: dict[str, Any]) -> None:
    run(resumable.PLAN, out=tmp_path)
    plan = Plan(**{**resumable.PLAN.model_dump(), **change})
    resumed: list[bool] = []
    mixed = run(plan, out=tmp_path, progress=lambda *args: resumed.append("resumed" in args[3]))
    assert not any(resumed)
    assert mixed.digest == run(plan).digest


def test_shards_of_another_model_are_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import factories
    import torch
    from torch import nn

    from xaibench.classifiers import TorchClassifier

    first = run(resumable.PLAN, out=tmp_path)

    def other() -> TorchClassifier:
        torch.manual_seed(0)
        return TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), input_shape=(1, 8, 8))

    monkeypatch.setattr(factories, "digits", other)
    again = run(resumable.PLAN, out=tmp_path)
    assert again.clean.accuracy != first.clean.accuracy


def test_shards_of_the_same_weights_in_other_code_are_never_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a digest of the model covers, what the model does is a part of the key."""
    import factories
    from torch import nn

    from xaibench.classifiers import TorchClassifier
    from xaibench.data import load_data

    def model(function: nn.Module) -> TorchClassifier:
        linear = factories.linear(load_data("digits", "train"))
        return TorchClassifier(nn.Sequential(nn.Flatten(), linear, function), input_shape=(1, 8, 8))

    monkeypatch.setattr(TorchClassifier, "digest", "the same")
    found = {}
    for function in (nn.ReLU(), nn.Tanh()):
        monkeypatch.setattr(factories, "digits", lambda function=function: model(function))
        mixed = run(resumable.PLAN, out=tmp_path)
        found[function] = mixed.clean.log_loss
        assert mixed.digest == run(resumable.PLAN).digest
    assert len(set(found.values())) == 2


def test_a_report_leaves_the_unfinished_work_of_other_plans(tmp_path: Path) -> None:
    other = run(Plan(**{**resumable.PLAN.model_dump(), "seed": 1}), out=tmp_path)
    unfinished = shard_times(tmp_path)
    write_report(run(resumable.PLAN, out=tmp_path), tmp_path)
    assert shard_times(tmp_path) == unfinished
    assert [path.parent for path in tmp_path.glob(".run/*/plan.json")] == [other.shards]
    write_report(other, tmp_path)
    assert not (tmp_path / ".run").exists()


def test_an_old_report_stays_whole_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(run(resumable.PLAN, out=tmp_path), tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    new = run(Plan(**{**resumable.PLAN.model_dump(), "eps": 0.2, "curve": None}), out=tmp_path)

    def fail(*_: Any) -> str:
        raise InputError("the page could not be made")

    with monkeypatch.context() as patch:
        patch.setattr("xaibench.report.write.render", fail)
        with pytest.raises(InputError):
            write_report(new, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == old
    write_report(new, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["plan"]["eps"] == 0.2
    assert {path.name for path in tmp_path.iterdir()} == set(old)
