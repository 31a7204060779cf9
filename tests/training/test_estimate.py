"""The time that a training will take, from one of its steps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from xaibench.card import Card
from xaibench.errors import InputError
from xaibench.files import file_digest
from xaibench.training import harden
from xaibench.training.estimate import Pace, pace
from xaibench.training.hardening import hardening_recipe


def test_seconds_are_steps_probes_and_what_is_done_once() -> None:
    found = Pace(step=0.5, probe=2.0, once=7.0, steps=10)
    assert found.seconds(3) == 3 * (10 * 0.5 + 2.0) + 7.0
    assert replace(found, probe=0.0).seconds(1) == 12.0


def test_steps_are_those_of_the_training_and_the_model_stays_as_it_is(toy_models: Path, tmp_path: Path) -> None:
    source = toy_models / "toy-image"
    before = file_digest(source / "model.safetensors")
    spec, changes = "pgd_at:steps=2", {"n": 300, "epochs": 2}
    found = pace(hardening_recipe(source, objective=spec, changes=changes))
    assert file_digest(source / "model.safetensors") == before
    assert found.step > 0
    assert found.probe > 0
    out = harden(source, objective=spec, out=tmp_path / "a-copy", **changes).folder
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "step" for line in lines) == 2 * found.steps
    assert Card.read(out / "config.json").name == "a-copy"


def test_what_does_not_fit_is_refused_as_by_the_training(toy_models: Path) -> None:
    recipe = hardening_recipe(toy_models / "toy-image")
    with pytest.raises(InputError, match="words"):
        pace(recipe.model_copy(update={"threat": recipe.threat.model_copy(update={"norm": "words", "eps": 2.0})}))  # type: ignore[union-attr]
