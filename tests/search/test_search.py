"""Searches over recipes: the space, the same trials again also after an interruption, and test data left alone."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from xaibench.cli import run
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.search import Range, SearchResult, search, search_space
from xaibench.search.space import _DEFAULTS, changed
from xaibench.search.toml import to_toml
from xaibench.training import Recipe, objectives, train

PLAIN: dict[str, Any] = {
    "name": "tiny",
    "data": "breast-cancer",
    "architecture": {"name": "mlp", "params": {"hidden": [4]}},
    "epochs": 2,
    "batch_size": 256,
}
ROBUST = PLAIN | {
    "objective": {"name": "trades", "params": {"steps": 2}},
    "threat": {"eps": 0.1},
    "probe": {"samples": 20, "attack": "fgsm"},
}

COMMAND = r"xaibench search (recipes/[^\[\n]*)"
CODE = (
    "import sys, json; from xaibench.search import search; from xaibench.training import Recipe\n"
    "search(Recipe.of(json.load(open(sys.argv[1]))), trials=6, out=sys.argv[2])"
)


def trials_of(result: SearchResult) -> list[Any]:
    return [(trial.values, trial.state, trial.scores) for trial in result.trials]


def test_the_space_follows_the_recipe_and_its_objective() -> None:
    space = search_space(Recipe.of(PLAIN))
    assert set(space) == {"optimizer.learning_rate", "optimizer.weight_decay", "objective.label_smoothing"}
    assert space["optimizer.learning_rate"] == Range(pytest.approx(1e-4), pytest.approx(1e-2), log=True)  # type: ignore[arg-type]
    space = search_space(Recipe.of(ROBUST), ["objective.beta=2..8", "objective.steps=1..4", "ema=0.9..0.99:log"])
    assert {"threat.warmup", "objective.beta"} < set(space)
    assert space["objective.beta"] == Range(2, 8)
    assert space["objective.steps"] == Range(1, 4, whole=True)
    assert space["ema"] == Range(0.9, 0.99, log=True)
    assert "objective.noise" not in space


def test_default_ranges_are_of_fields_that_exist() -> None:
    names = {field.name for name in objectives for field in fields(objectives.get(name))}
    assert {key.removeprefix("objective.") for key in _DEFAULTS if key.startswith("objective.")} <= names


def test_documented_searches_are_of_what_their_recipes_have(root: Path) -> None:
    texts = [(root / name).read_text() for name in ("docs/search.md", "README.md", "src/xaibench/cli/search.py")]
    commands = [shlex.split(found, comments=True) for text in texts for found in re.findall(COMMAND, text)]
    assert len(commands) >= 5
    for path, *options in commands:
        recipe = Recipe.read(root / path)
        given = [value for option, value in pairwise(options) if option == "--space"]
        assert search_space(recipe, given).keys() >= {text.partition("=")[0] for text in given}
        assert recipe.validation > 0
        assert recipe.threat is None or recipe.probe.samples > 0
    listed = re.findall(r"^\| `([a-z_.]+)` \|", texts[0], re.MULTILINE)
    assert set(listed) == {"optimizer.learning_rate", *_DEFAULTS}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("objective.beta", "expected a range as key=low..high"),
        ("objective.beta=1", "expected a range as key=low..high"),
        ("objective.beta=1..x", "expected a range as key=low..high"),
        ("objective.beta=1..inf", "expected a range as key=low..high"),
        ("objective.beta=1..2:lin", "expected a range as key=low..high"),
        ("objective.beta=2..1", "expected low <= high"),
        ("objective.beta=0..1:log", "above zero for a logarithmic range"),
        ("objective.steps=1.5..3", "expected whole numbers for objective.steps"),
        ("objective.betta=1..2", r"unknown key of the search space 'objective.betta'; did you mean 'objective.beta'"),
        ("objective.beta=-1..2", "expected `beta` >= 0"),
        ("threat.warmup=0..2", "threat.warmup"),
        ("threat.eps=0..1", "leaves the score's meaning"),
        ("probe.samples=1..9", "leaves the score's meaning"),
        ("validation=0.1..0.5", "leaves the score's meaning"),
        ("name=1..2", "unknown key of the search space 'name'"),
    ],
)
def test_a_wrong_space_is_refused(given: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        search_space(Recipe.of(ROBUST), [given])


def test_values_land_in_the_recipe() -> None:
    made = changed(Recipe.of(ROBUST), {"objective.beta": 2.5, "threat.warmup": 0.5, "ema": 0.9})
    assert made.objective.params == {"steps": 2, "beta": 2.5}
    assert made.threat is not None
    assert (made.threat.eps, made.threat.warmup, made.ema) == (0.1, 0.5, 0.9)


def test_recipes_survive_toml(root: Path) -> None:
    for path in sorted((root / "recipes").glob("*.toml")):
        values = Recipe.read(path).model_dump(mode="json", exclude_unset=True)
        assert Recipe.of(tomllib.loads(to_toml(values, heading="a\nb"))) == Recipe.read(path)
    odd = {"a b": 'quote " back \\ line \n end \x7f é', "list": [[1, 2], ["x"]], "on": True, "small": 1e-7}
    assert tomllib.loads(to_toml(odd)) == odd


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xaibench.training.session.load_data", None)  # trials get their rows from the search
        patch.setattr(sys.modules["xaibench.search.search"], "load_data", no_test_rows)
        return search(Recipe.of(ROBUST), trials=6, out=tmp_path_factory.mktemp("search") / "whole")


def no_test_rows(name: str, split: str, *args: Any, **options: Any) -> Any:
    assert split == "train"
    return load_data(name, split, *args, **options)


def test_the_best_trial_is_the_one_of_the_best_score(whole: SearchResult) -> None:
    scores = []
    for trial in whole.trials:
        folder = whole.folder / f"trial-{trial.number:03d}"
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        logged = [line["validation_robust_accuracy"] for line in lines if line["kind"] == "epoch"]
        assert logged == pytest.approx(list(trial.scores.values()), rel=1e-5)
        assert (folder / "model.safetensors").exists() == (trial.state == "complete")
        assert not (folder / ".training").exists()
        scores.append(max(logged) if trial.state == "complete" else -1)
    assert whole.best.number == scores.index(max(scores))
    best = Recipe.read(whole.folder / "best.toml")
    assert best == whole.recipe == Recipe.read(whole.folder / f"trial-{whole.best.number:03d}" / "recipe.toml")


def test_an_interrupted_search_comes_to_the_same(whole: SearchResult, tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int, info: Any) -> None:
        if stage == "trial 4: epoch":
            raise KeyboardInterrupt

    out = tmp_path / "broken"
    search(Recipe.of(ROBUST), trials=2, out=out)
    with pytest.raises(KeyboardInterrupt):
        search(Recipe.of(ROBUST), trials=6, out=out, progress=interrupt)
    assert not (out / "trial-004" / "trial.json").exists()
    found = search(Recipe.of(ROBUST), trials=6, out=out)
    assert trials_of(found) == trials_of(whole)
    assert (out / "best.toml").read_text() == (whole.folder / "best.toml").read_text()
    other = search(Recipe.of(ROBUST), trials=1, out=tmp_path / "other", seed=1)
    assert trials_of(other)[0][0] != trials_of(whole)[0][0]


def test_a_killed_search_comes_to_the_same(whole: SearchResult, tmp_path: Path) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "killed"
    plan.write_text(Recipe.of(ROBUST).model_dump_json(exclude_unset=True))
    process = subprocess.Popen([sys.executable, "-c", CODE, str(plan), str(out)])
    deadline = time.monotonic() + 120
    while not (out / "trial-002" / "recipe.toml").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the search ended before it could be killed"
    assert (out / "trial-001" / "trial.json").exists()
    assert not (out / "trial-005").exists()
    found = search(Recipe.of(ROBUST), trials=6, out=out)
    assert trials_of(found) == trials_of(whole)
    assert (out / "best.toml").read_text() == (whole.folder / "best.toml").read_text()


def test_hopeless_trials_end_early(tmp_path: Path) -> None:
    """The fifth trial has a rate at which nothing is learnt; the four before it fix the median."""
    recipe = Recipe.of(PLAIN | {"epochs": 10, "monitor": "loss"})
    space = ["optimizer.learning_rate=1e-9..1e-2:log"]
    found = search(recipe, trials=10, out=tmp_path / "pruned", space=space)
    ended = [trial for trial in found.trials if trial.state == "pruned"]
    assert ended
    for trial in ended:
        last = max(trial.scores)
        before = [max(t.scores[e] for e in t.scores if e <= last) for t in found.trials[: trial.number] if t.score]
        reached = [t.scores[last] for t in found.trials[: trial.number] if t.state == "complete"]
        assert before
        assert max(trial.scores.values()) < sorted(reached)[len(reached) // 2]
        assert 2 <= last < 10  # not in the first fifth
    cut = tmp_path / "cut"
    shutil.copytree(found.folder, cut)
    for number in range(ended[-1].number, 10):
        shutil.rmtree(cut / f"trial-{number:03d}")
    assert trials_of(search(recipe, trials=10, out=cut, space=space)) == trials_of(found)  # what was cut off ends early
    kept = search(recipe, trials=5, out=tmp_path / "kept", space=space, prune=False)
    assert all(trial.state == "complete" for trial in kept.trials)


def test_trials_that_diverge_count_as_failed(tmp_path: Path) -> None:
    recipe = Recipe.of(PLAIN | {"optimizer": {"name": "sgd"}})
    with pytest.raises(InputError, match=r"expected a trial that completes, got none of 2: .*finite"):
        search(recipe, trials=2, out=tmp_path / "s", space=["optimizer.learning_rate=1e36..1e37"])


def test_bad_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(to_toml(PLAIN))
    (tmp_path / "blind.toml").write_text(to_toml(PLAIN | {"validation": 0}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("")

    def refused(*arguments: str) -> str:
        assert run(["search", *arguments]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "expected `trials` >= 1, got 0" in refused("r.toml", "--trials", "0")
    assert "`validation` > 0" in refused("blind.toml")
    assert "expected an empty folder or that of a search" in refused("r.toml", "--out", "full")
    assert "unknown key of the search space" in refused("r.toml", "--space", "beta=1..2")
    assert run(["search", "r.toml", "--trials", "1", "--out", "s", "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)["trials"]) == 1
    assert "expected the seed that the search" in refused("r.toml", "--out", "s", "--seed", "1")
    (tmp_path / "s" / "trial-000" / "trial.json").write_text("{")
    assert "expected the record of a trial" in refused("r.toml", "--out", "s")
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install 'xaibench[search]'" in refused("r.toml", "--out", "t")
    assert not (tmp_path / "t").exists()


def test_the_best_recipe_trains(whole: SearchResult, tmp_path: Path) -> None:
    folder = train(whole.folder / "best.toml", out=tmp_path / "model")
    assert json.loads((folder / "config.json").read_text())["metrics"]["test"]["n"] > 0
