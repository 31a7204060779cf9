"""What each command gives, through the real command line on small trained models."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from xaibench.card import Card, RobustAccuracy
from xaibench.cli import run
from xaibench.data import data_names, load_data
from xaibench.evaluate import ModelOptions, Plan
from xaibench.reading import percent
from xaibench.registry import Spec


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the toy models at hand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    return tmp_path


@pytest.fixture
def answer(capfd: pytest.CaptureFixture[str]) -> Any:
    """Runs a command that must succeed, and gives what it prints on standard output, read as JSON if asked for."""

    def ask(*arguments: str) -> Any:
        code = run(arguments)
        out, err = capfd.readouterr()
        assert code == 0, err
        return json.loads(out) if "--json" in arguments else out

    return ask


def test_models_lists_what_is_there(answer: Any, toy_models: Path) -> None:
    listed = answer("models", "--json")
    assert [row["name"] for row in listed] == ["toy-image", "toy-table", "toy-text"]
    card = Card.read(toy_models / "toy-image" / "config.json")
    assert listed[0]["accuracy"] == card.metrics["test"]["accuracy"]
    shown = answer("models")
    assert all(row["name"] in shown for row in listed)


def test_models_where_there_are_none(answer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "nowhere"))
    assert answer("models", "--json") == []
    assert "xaibench train" in answer("models")


@pytest.mark.parametrize("how", ["name", "folder"])
def test_models_show_gives_the_card(how: str, answer: Any, toy_models: Path) -> None:
    name = "toy-table" if how == "name" else str(toy_models / "toy-table")
    assert Card.model_validate(answer("models", "show", name, "--json")).name == "toy-table"
    assert "breast-cancer" in answer("models", "show", name)


def test_models_show_gives_the_robust_accuracy(answer: Any, root: Path, tmp_path: Path) -> None:
    found = Card.read(root / "models" / "digits-cnn" / "config.json").robustness[0]
    shown = " ".join(answer("models", "show", str(root / "models" / "digits-cnn")).split())
    share = percent(found.robust_accuracy)
    assert f"robust accuracy, linf 0.1 {share} (62.7 % to 72.3 %) by autoattack, on all 359 rows of test" in shown


def test_data_that_are_not_here_are_said_to_be_away(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XAIBENCH_DATA_HOME", raising=False)
    row = next(row for row in answer("data", "--json") if row["name"] == "cifar10")
    assert row["here"] == "no"
    assert row["rows"] is None


def test_data_lists_names_and_describes_one(answer: Any) -> None:
    listed = {row["name"]: row for row in answer("data", "--json")}
    assert listed.keys() >= set(data_names())
    assert listed["digits"] == {
        "name": "digits",
        "task": "image",
        "classes": 10,
        "shape": "1 x 8 x 8",
        "split": "test",
        "rows": 359,
        "here": "yes",
    }
    assert "digits" in answer("data").split()
    facts = answer("data", "show", "digits", "--n", "30", "--json")
    data = load_data("digits", n=30)
    assert facts["digest"] == data.digest
    assert facts["shape"] == [1, 8, 8]
    assert sum(facts["classes"].values()) == facts["rows"] == 30
    assert data.digest in answer("data", "show", "digits", "--n", "30")


def test_evaluate_measures_what_the_card_states(answer: Any, toy_models: Path) -> None:
    found = answer("evaluate", "toy-image", "--json")
    card = Card.read(toy_models / "toy-image" / "config.json")
    assert found["metrics"]["accuracy"] == card.metrics["test"]["accuracy"]
    assert found["metrics"]["n"] == len(load_data("digits"))
    assert found["model_digest"] == card.weights_digest
    table = answer("evaluate", "toy-image")
    accuracy = f"{card.metrics['test']['accuracy']:.4f}"
    assert next(line for line in table.splitlines() if "accuracy " in line).split()[1:] == [accuracy, accuracy]


def test_card_writes_and_measures_again(answer: Any, toy_models: Path, workplace: Path) -> None:
    folder = workplace / "toy-image"
    shutil.copytree(toy_models / "toy-image", folder)
    stated, text = Card.read(folder / "config.json"), (folder / "README.md").read_text()
    (folder / "README.md").write_text("damaged")
    (folder / "config.json").write_text(stated.model_copy(update={"metrics": {}}).model_dump_json())
    answer("card", str(folder), "--measure")
    assert Card.read(folder / "config.json") == stated
    assert (folder / "README.md").read_text() == text
    (folder / "README.md").write_text("damaged")
    assert answer("card", str(folder)).strip() == str(folder / "README.md")
    assert answer("card", str(folder), "--json") == [str(folder / "README.md")]
    assert (folder / "README.md").read_text() == text


def test_evaluate_on_other_data_states_no_card(answer: Any) -> None:
    found = answer("evaluate", "toy-image", "--split", "train", "--n", "20", "--seed", "3", "--json")
    assert found["data_digest"] == load_data("digits", "train", n=20, seed=3).digest
    line = next(line for line in answer("evaluate", "toy-image", "--split", "train").splitlines() if "log_loss" in line)
    assert len(line.split()) == 2


def test_evaluate_measures_under_attack_on_the_first_rows(answer: Any, toy_models: Path, workplace: Path) -> None:
    asked = ("evaluate", "toy-image", "--attack", "pgd:steps=3", "--eps", "0.1", "--n", "20", "--first")
    found = answer(*asked, "--json")
    rows = load_data("digits", "test", 20, seed=None)
    assert (found["data_digest"], found["n"], found["rows"]) == (rows.digest, 20, "first")
    assert len(found["outcomes"]) == 20
    folder = workplace / "toy-image"
    shutil.copytree(toy_models / "toy-image", folder)
    summary = {key: found[key] for key in RobustAccuracy.model_fields}
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "robustness": [summary]}))
    shown = answer("evaluate", str(folder), *asked[2:])
    line = next(line for line in shown.splitlines() if "robust accuracy" in line)
    assert line.split()[2:] == [f"{found['robust_accuracy']:.4f}"] * 2
    assert answer("evaluate", str(folder), *asked[2:-1], "--json")["rows"] == "drawn"
    answer("card", str(folder))
    text = (folder / "README.md").read_text()
    assert "## Under attack, first 20 samples of the test split" in text
    assert f"| robust accuracy | {found['robust_accuracy']:.2%} (95 % interval" in text
    index = json.loads(next(line for line in text.splitlines() if "model-index" in line).partition(": ")[2])
    assert index[0]["results"][1]["metrics"][0]["value"] == found["robust_accuracy"]
    assert "pgd:steps=3 within L∞ 0.1" in index[0]["results"][1]["task"]["name"]


def test_evaluate_takes_a_users_own_module(answer: Any, workplace: Path) -> None:
    (workplace / "mine.py").write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    found = answer("evaluate", "mine:make", "--data", "digits", "--json")
    assert found["metrics"]["n"] == len(load_data("digits"))


def test_a_table_model_needs_no_more_than_its_file(answer: Any, workplace: Path) -> None:
    import torch

    (workplace / "mine.py").write_text("from torch import nn\ndef make():\n    return nn.Linear(30, 2)\n")
    module = torch.nn.Linear(30, 2)
    program = torch.export.export(module, (torch.zeros(4, 30),), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    torch.export.save(program, workplace / "mine.pt2")
    data = load_data("breast-cancer")
    mean, std = 500.0, 250.0
    expected = module((torch.as_tensor(data.inputs) - mean) / std).argmax(1) == data.labels
    options = ("--data", "breast-cancer", "--mean", str(mean), "--std", str(std), "--json")
    found = answer("evaluate", "mine.pt2", *options)
    assert found["metrics"]["accuracy"] == pytest.approx(float(expected.double().mean()))
    report = answer("report", "mine.pt2", *options, "--samples", "0", "--attack", "fgsm")
    assert report["results"]["clean"]["accuracy"] == found["metrics"]["accuracy"]
    assert report["plan"]["options"]["mean"] == [mean]


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_more_rows_than_there_are_is_said(command: str, workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ("--samples", "0", "--attack", "fgsm") if command == "report" else ()
    size = len(load_data("breast-cancer"))
    for n, said in ((size + 1, True), (size, False)):
        assert run([command, "toy-table", "--n", str(n), *more]) == 0
        line = f"the split has {size} rows, fewer than {n}: all of them are measured"
        assert (line in capfd.readouterr().err) == said


@pytest.mark.parametrize("model", ["toy-image", "toy-table", "toy-text"])
def test_report_writes_its_files_and_repeats_itself(model: str, answer: Any, workplace: Path) -> None:
    attack = "hotflip" if model == "toy-text" else "fgsm"
    arguments = ("report", model, "--n", "12", "--samples", "2", "--attack", attack, "--json")
    first = answer(*arguments)
    folder = workplace / "reports" / model
    assert json.loads((folder / "report.json").read_text()) == first
    assert (folder / "index.html").is_file()
    second = answer(*arguments, "--out", "again")
    assert second["results_digest"] == first["results_digest"]


def test_report_says_where_it_lies(answer: Any, workplace: Path) -> None:
    said = answer("report", "toy-image", "--n", "8", "--samples", "1", "--attack", "fgsm", "--out", "there")
    assert said.rstrip().endswith(str(workplace / "there" / "index.html"))


def test_report_takes_a_small_test_split_as_it_is(answer: Any) -> None:
    found = answer("report", "toy-table", "--samples", "0", "--attack", "fgsm", "--json")
    assert found["plan"]["n"] == found["data"]["n"] == len(load_data("breast-cancer"))


MODEL_OPTIONS: dict[str, Any] = {
    "architecture": "mlp:classes=2",
    "task": "tabular",
    "bounds": (-1.0, 2.5),
    "mean": (-0.5, 0.001),
    "std": (2.0,),
    "class_names": ("no way", "so"),
    "outputs": "probabilities",
    "tokenizer": "t.json",
}


def test_every_model_option_is_tried_here() -> None:
    assert set(MODEL_OPTIONS) == set(ModelOptions.model_fields)


def test_every_option_of_report_reaches_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Plan] = []

    def stop(plan: Plan, **_: object) -> None:
        seen.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("xaibench.report.run", stop)
    wanted = Plan(
        model="toy-image",
        weights="w.safetensors",
        options=ModelOptions(**MODEL_OPTIONS),
        data="digits",
        split="train",
        n=7,
        seed=5,
        norm="l2",
        eps=0.7,
        attacks=("pgd:steps=3", "fgsm"),
        explainers=("saliency:absolute=false",),
        samples=3,
        proofs=7,
        minimal=8,
        corruptions=9,
        checks=False,
        thorough=True,
    )
    options = {
        name: value
        for name, value in wanted
        if name
        in ("weights", "data", "split", "n", "seed", "norm", "eps", "samples", "proofs", "minimal", "corruptions")
    }
    arguments = [f"--{name}={value}" for name, value in options.items()]
    arguments += [
        "--architecture=mlp:classes=2",
        "--task=tabular",
        "--bounds=-1,2.5",
        "--mean=-0.5,1e-3",
        "--std=2",
        "--class-names=no way,so",
        "--outputs=probabilities",
        "--tokenizer=t.json",
        "--no-checks",
        "--thorough",
    ]
    arguments += [f"--attack={spec}" for spec in wanted.attacks] + [f"--explainer={spec}" for spec in wanted.explainers]
    assert run(["report", "toy-image", *arguments]) == 130
    assert seen == [wanted]
    assert Spec.parse(wanted.explainers[0]).params == {"absolute": False}


def test_the_command_in_a_report_makes_the_same_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    import shlex

    from xaibench.report.command import command

    seen: list[Plan] = []

    def stop(plan: Plan, **_: object) -> None:
        seen.append(plan)
        raise KeyboardInterrupt

    monkeypatch.setattr("xaibench.report.run", stop)
    plan = Plan(model="own.pt2", data="digits", n=9, eps=0.2, seed=4, options=ModelOptions(**MODEL_OPTIONS))
    run(shlex.split(command(plan) or "")[1:])
    assert seen == [plan]
    assert command(Plan(model="own.pt2", options=ModelOptions(class_names=("a, b", "c")))) is None


def test_train_passes_everything_on_and_prints_the_folder(
    answer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, object] = {}

    def train(recipe: Path, **options: object) -> Path:
        seen.update(options, recipe=recipe)
        return tmp_path / "made"

    monkeypatch.setattr("xaibench.training.train", train)
    assert answer("train", "r.toml", "--out", "here", "--resume") == f"{tmp_path / 'made'}\n"
    assert callable(seen.pop("progress"))
    assert seen == {
        "recipe": Path("r.toml"),
        "out": Path("here"),
        "resume": True,
        "keep_checkpoints": False,
        "track": None,
    }


def test_train_says_what_it_made_as_json(answer: Any, monkeypatch: pytest.MonkeyPatch, toy_models: Path) -> None:
    made = toy_models / "toy-image"
    monkeypatch.setattr("xaibench.training.train", lambda *_, **__: made)
    card = Card.read(made / "config.json")
    expected = {"folder": str(made), "weights_digest": card.weights_digest, "metrics": card.metrics}
    assert answer("train", "r.toml", "--json") == expected


def test_interrupted_training_can_be_resumed(workplace: Path, answer: Any, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = (
        'name = "long"\ndata = "breast-cancer"\nepochs = {}\ncheckpoint_seconds = 0\n[architecture]\nname = "mlp"\n'
    )
    (workplace / "long.toml").write_text(recipe.format(100_000))
    command = [sys.executable, "-m", "xaibench", "train", "long.toml", "--out", "made"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("train: "), line
        while not (workplace / "made" / ".training" / "checkpoint.safetensors").exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().splitlines()
    assert process.returncode == 130
    assert "--resume" in said[-1]
    assert [path.name for path in (workplace / "made").iterdir()] == [".training"]
    assert run(["train", "long.toml", "--out", "made"]) == 2
    assert "--resume" in capfd.readouterr().err
    (workplace / "other.toml").write_text(recipe.format(2))
    assert run(["train", "other.toml", "--out", "made", "--resume"]) == 2
    assert "epochs" in capfd.readouterr().err


def test_card_writes_cards_again(answer: Any, toy_models: Path) -> None:
    readme = toy_models / "toy-image" / "README.md"
    written = readme.read_text()
    readme.write_text("lost")
    assert answer("card", "toy-image") == f"{readme}\n"
    assert readme.read_text() == written


def test_app_starts_the_router(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda program, command: calls.append(command))
    assert run(["app", "--port", "8600", "--no-browser"]) == 0
    (command,) = calls
    router = command[command.index("run") + 1]
    assert Path(router).is_file()
    assert {"--server.port=8600", "--server.headless=true"} <= set(command)
