"""The folder that a training writes to, and what does not fit being said before anything is loaded."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from xaibench.errors import InputError
from xaibench.training import Recipe, train
from xaibench.training.objectives import needs_task, objectives, objectives_for
from xaibench.training.output import check_output, remove_new

PLAN: dict[str, Any] = {
    "name": "tiny",
    "data": "digits",
    "architecture": {"name": "small_cnn", "params": {"width": 4, "hidden": 16}},
    "epochs": 1,
    "batch_size": 512,
    "checkpoint_seconds": 0,
}


def test_only_an_unfinished_training_is_resumed(tmp_path: Path) -> None:
    finished, begun = tmp_path / "finished", tmp_path / "begun"
    finished.mkdir()
    (finished / "config.json").write_text("{}")
    (begun / ".training").mkdir(parents=True)
    for folder in (finished, tmp_path / "new"):
        with pytest.raises(InputError, match="nothing to resume in"):
            train(Recipe.of(PLAN), out=folder, resume=True)
    check_output(begun, resume=True, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "finished"]
    assert (finished / "config.json").read_text() == "{}"


def test_models_are_replaced_only_one_at_a_time_and_on_demand(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.json").write_text("{}")
    check_output(tmp_path / "one", overwrite=True)
    check_output(tmp_path / "two", overwrite=False)
    with pytest.raises(InputError, match="`overwrite`"):
        check_output(tmp_path / "one", overwrite=False)
    with pytest.raises(InputError, match="which holds others, such as one"):
        train(Recipe.of(PLAN), out=tmp_path)
    with pytest.raises(InputError, match="got the file"):
        check_output(tmp_path / "one" / "config.json")


def test_what_is_new_is_removed(tmp_path: Path) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    (tmp_path / "old" / "file").write_text("mine")
    before = {tmp_path, *tmp_path.rglob("*")}
    (tmp_path / "old" / "deep" / "new" / "er").mkdir(parents=True)
    (tmp_path / "old" / "deep" / "new" / "file").write_text("its")
    remove_new(tmp_path, before)
    assert {tmp_path, *tmp_path.rglob("*")} == before
    remove_new(tmp_path / "old", set())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_once_promises_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.raises(InputError, match=r"No space left on device; there is no checkpoint yet to go on from$"):
        train(Recipe.of(PLAN), out=tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_what_does_not_fit_is_said_before_all_rows_are_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("all rows were loaded")

    monkeypatch.setattr("xaibench.training.session._rows", never)
    plan = Recipe.of(PLAN | {"objective": {"name": "free_lb"}})
    with pytest.raises(InputError, match=r"for image data \(.*trades\), got free_lb, for text data"):
        train(plan, out=tmp_path / "m")


@pytest.mark.parametrize(
    ("spec", "tasks"),
    [
        ("standard", ("image", "text", "tabular")),
        ("awp", ("image", "tabular")),
        ("awp:objective=word_substitution", ("text",)),
        ("awp:objective=standard", ("image", "text", "tabular")),
        ("epsilon_ensemble:objective=trades", ("image", "tabular")),
        ("adversarial", ("image", "tabular")),
        ("adversarial:attack=word_substitution", ("text",)),
        ("trades", ("image", "tabular")),
        ("free_lb", ("text",)),
    ],
)
def test_objectives_fit_what_they_say(spec: str, tasks: tuple[str, ...]) -> None:
    objective = objectives.create(spec)
    for task in ("image", "text", "tabular"):
        if task in tasks:
            needs_task(objective, task)  # type: ignore[arg-type]  # one of three
        else:
            with pytest.raises(InputError, match=f"expected an objective for {task} data"):
                needs_task(objective, task)  # type: ignore[arg-type]


def test_every_kind_of_data_has_its_objectives() -> None:
    assert {"free_lb", "standard", "word_substitution"} <= set(objectives_for("text"))
    assert not {"trades", "pgd_at", "free", "robust_distillation", "reconstruction"} & set(objectives_for("text"))
    assert set(objectives_for("image")) == set(objectives) - {"free_lb", "word_substitution"}
