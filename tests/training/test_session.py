"""Whole trainings on digits, small enough for a test: resuming, refusing, fine-tuning."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from xaibench.card import Card
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.training import Recipe, train
from xaibench.zoo import load_model

FRAMEWORKS = ["torch", "keras"]
ARCHITECTURES = {
    "torch": {"name": "small_cnn", "params": {"width": 4, "hidden": 16}},
    "keras": {"name": "keras_mlp", "params": {"hidden": [16], "dropout": 0.3}},
}


def small(framework: str, **changes: Any) -> Recipe:
    """Everything that could differ after a resume is on: dropout, augmentation, momentum, EMA, early stopping."""
    return Recipe.of(
        {
            "name": "tiny",
            "data": "digits",
            "architecture": ARCHITECTURES[framework],
            "epochs": 3,
            "batch_size": 256,
            "patience": 2,
            "ema": 0.9,
            "optimizer": {"name": "sgd", "learning_rate": 0.1, "momentum": 0.9},
            "schedule": {"name": "cosine", "warmup": 0.2},
            "augmentation": {"shift": 1},
            "checkpoint_seconds": 0,
        }
        | changes
    )


def digest(folder: Path) -> str:
    return load_model(folder).digest


class _KilledError(Exception):
    pass


def killer(at: int) -> Any:
    def progress(stage: str, done: int, total: int, info: dict[str, Any]) -> None:
        if stage == "train" and done == at:
            raise _KilledError

    return progress


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_resumed_training_ends_with_the_same_weights(framework: str, tmp_path: Path) -> None:
    plan = small(framework)
    whole = train(plan, out=tmp_path / "whole")
    out = tmp_path / "broken"
    for at in (3, 6, 9):  # in the first epoch, in the second, after one that resumed: each before its own checkpoint
        with pytest.raises(_KilledError):
            train(plan, out=out, resume=at > 3, progress=killer(at))
        assert not (out / "config.json").exists()
    train(plan, out=out, resume=True)
    assert digest(out) == digest(whole)
    assert not (out / ".training").exists()
    other = train(plan.model_copy(update={"seed": 1}), out=tmp_path / "other")
    assert digest(other) != digest(whole)


def test_a_training_killed_by_the_system_resumes_to_the_same_weights(tmp_path: Path) -> None:
    plan = small("torch", epochs=20, patience=None)
    (tmp_path / "plan.json").write_text(plan.model_dump_json(exclude_unset=True))
    code = (
        "import sys, json; from xaibench.training import Recipe, train\n"
        "train(Recipe.of(json.load(open(sys.argv[1]))), out=sys.argv[2])"
    )
    out = tmp_path / "broken"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "plan.json"), str(out)])
    checkpoint = out / ".training" / "checkpoint.safetensors"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the training ended before it could be killed"
    train(plan, out=out, resume=True)
    assert digest(out) == digest(train(plan, out=tmp_path / "whole"))


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    architecture = {"name": "small_cnn", "params": {"width": 4, "hidden": 16, "dropout": 0.0}}
    plan = small("torch", architecture=architecture, epochs=1)
    values = plan.model_dump(mode="json", exclude_unset=True)
    (tmp_path / "script.py").write_text(
        "import json, sys\nfrom xaibench.training import Recipe, train\n"
        f"train(Recipe.of(json.loads({json.dumps(json.dumps(values))})), out=sys.argv[1])"
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [*launcher, str(tmp_path / "script.py"), str(tmp_path / "two")], check=True, env=environment, timeout=200
    )
    train(plan, out=tmp_path / "one")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-4)


def test_the_best_epoch_on_validation_is_kept(tmp_path: Path) -> None:
    # A rate that explodes after the first step of the schedule: the last weights are useless, the best are not.
    plan = small("torch", ema=None, epochs=4, patience=None, optimizer={"name": "sgd", "learning_rate": 0.5})
    lines: list[dict[str, Any]] = []

    def progress(stage: str, done: int, total: int, info: dict[str, Any]) -> None:
        if stage == "epoch":
            lines.append(info)

    folder = train(plan, out=tmp_path / "model", progress=progress)
    model, rows = load_model(folder), load_data("digits", "train")
    held = torch.randperm(len(rows), generator=_validation_generator(plan.seed))[: round(0.1 * len(rows))]
    accuracy = float((model.predict(rows.inputs[held]) == rows.labels[held]).double().mean())
    assert accuracy == max(line["validation_accuracy"] for line in lines)


def _validation_generator(seed: int) -> torch.Generator:
    from xaibench.rng import derive_seed

    return torch.Generator().manual_seed(derive_seed(seed, "validation"))


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    plan = small("torch", optimizer={"name": "sgd", "learning_rate": 1e30}, schedule={}, patience=None)
    with pytest.raises(InputError, match=r"expected a finite loss, got (nan|inf) in epoch"):
        train(plan, out=tmp_path / "m")
    assert not (tmp_path / "m" / "config.json").exists()


def test_patience_stops_early(tmp_path: Path) -> None:
    plan = small("torch", ema=None, epochs=50, patience=2, optimizer={"name": "sgd", "learning_rate": 1e-9})
    epochs: list[int] = []
    train(plan, out=tmp_path / "m", progress=lambda stage, done, *_: epochs.append(done) if stage == "epoch" else None)
    assert epochs == [1, 2, 3]


def test_the_card_says_what_was_trained_and_measured(tmp_path: Path) -> None:
    folder = train(small("torch"), out=tmp_path / "tiny")
    card, test = Card.read(folder / "config.json"), load_data("digits", "test")
    model = load_model(folder)
    metrics = card.metrics["test"]
    assert metrics["n"] == len(test)
    assert metrics["accuracy"] == pytest.approx(float((model.predict(test.inputs) == test.labels).double().mean()))
    assert card.weights_digest == model.digest
    assert card.data.digest == load_data("digits", "train").digest
    assert card.recipe["epochs"] == 3
    text = (folder / "README.md").read_text()
    header = text.split("---")[1]
    assert json.loads(header.split("model-index: ")[1].splitlines()[0])[0]["name"] == "tiny"
    assert f"{metrics['accuracy']:.2%}" in text


def test_unfinished_work_is_neither_lost_nor_mixed(tmp_path: Path) -> None:
    out = tmp_path / "m"
    with pytest.raises(_KilledError):
        train(small("torch"), out=out, progress=killer(3))
    with pytest.raises(InputError, match="--resume"):
        train(small("torch"), out=out)
    with pytest.raises(InputError, match="another `epochs`"):
        train(small("torch", epochs=9), out=out, resume=True)
    (out / ".training" / "checkpoint.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="expected a checkpoint"):
        train(small("torch"), out=out, resume=True)
    (out / ".training" / "record.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        train(small("torch"), out=out, resume=True)


def test_a_training_goes_on_with_its_own_data_and_initial_weights_only(tmp_path: Path) -> None:
    rows = load_data("digits", "train")
    out = tmp_path / "m"
    with pytest.raises(_KilledError):
        train(small("torch"), rows, out=out, progress=killer(3))
    with pytest.raises(InputError, match="expected the data"):
        train(small("torch"), rows.take(range(1000)), out=out, resume=True)
    base, tuned = train(small("torch"), out=tmp_path / "base"), tmp_path / "tuned"
    with pytest.raises(_KilledError):
        train(str(base), rows, out=tuned, checkpoint_seconds=0, progress=killer(3))
    train(small("torch", seed=9), out=base)
    with pytest.raises(InputError, match="expected the initial weights"):
        train(str(base), rows, out=tuned, resume=True)


def test_what_no_weight_depends_on_may_change_on_the_way(tmp_path: Path) -> None:
    out = tmp_path / "m"
    with pytest.raises(_KilledError):
        train(small("torch"), out=out, progress=killer(3))
    train(small("torch", summary="Another sentence.", checkpoint_seconds=60), out=out, resume=True)
    card = Card.read(out / "config.json")
    assert card.summary == "Another sentence."
    assert card.weights_digest == Card.read(train(small("torch"), out=tmp_path / "w") / "config.json").weights_digest


def test_an_old_model_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    out = train(small("torch"), out=tmp_path / "m")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(_KilledError):
        train(small("torch", seed=7), out=out, progress=killer(2))
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    train(small("torch", seed=7), out=out, resume=True)
    assert (out / "model.safetensors").read_bytes() != before["model.safetensors"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_fine_tuning_starts_from_the_model_and_respects_frozen_layers(framework: str, tmp_path: Path) -> None:
    base = train(small(framework), out=tmp_path / "base")
    rows = load_data("digits", "train")
    few = rows.take(torch.nonzero(rows.labels < 10).flatten()[:300])
    frozen = {"torch": ["conv*", "dense.*"], "keras": ["*dense1/*"]}[framework]
    tuned = train(str(base), few, out=tmp_path / "tuned", epochs=1, batch_size=64, freeze=frozen)
    first, second = load_model(base), load_model(tuned)
    assert second.card is not None
    assert first.card is not None
    assert second.card.mean == first.card.mean
    assert second.digest != first.digest
    layer = {"torch": "dense", "keras": "dense1"}[framework]
    x = rows.inputs[:4]
    torch.testing.assert_close(second.activations(x, layer), first.activations(x, layer))


def test_fine_tuning_for_other_classes_makes_a_new_head(tmp_path: Path) -> None:
    import dataclasses

    base = train(small("torch"), out=tmp_path / "base")
    rows = load_data("digits", "train")
    parity = dataclasses.replace(rows, labels=rows.labels % 2, class_names=("even", "odd"))
    tuned = train(str(base), parity, out=tmp_path / "parity", epochs=10, freeze=["conv*"])
    model = load_model(tuned)
    assert model.num_classes == 2
    before, after = load_file(base / "model.safetensors"), load_file(tuned / "model.safetensors")
    assert torch.equal(before["conv1.weight"], after["conv1.weight"])
    test = load_data("digits", "test")
    assert float((model.predict(test.inputs) == test.labels % 2).double().mean()) > 0.8


def test_recipes_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    base = 'name = "x"\ndata = "digits"\n'
    cases = {
        base + 'architecture = { name = "mlp" }\nepoch = 3': "unknown key `epoch`",
        base + 'architecture = { name = "mlp" }\nepochs = 0': "`epochs`.*got 0",
        base: "either `architecture` or `init`, got neither",
        base + "epochs = ": "expected TOML",
        base + 'architecture = { name = "mpl" }': "did you mean 'mlp'",
        base
        + 'architecture = { name = "mlp", params = { width = 3 } }': "unknown parameter of architecture mlp 'width'",
        base + 'architecture = { name = "small_cnn" }\nobjective = { name = "standart" }': "did you mean 'standard'",
        base + 'architecture = { name = "small_cnn", params = { width = "wide" } }': "expected `width`.*got 'wide'",
        base + 'architecture = { name = "small_cnn", params = { classes = 3 } }': "no `classes`",
        base + 'architecture = { name = "small_cnn" }\ninit = "digits-cnn"': "^[^{]*neither.*both|got both",
        base + 'architecture = { name = "small_cnn" }\ntest_split = "zz"': "split.*'zz'",
        base + 'architecture = { name = "small_cnn" }\noptimizer = { learning_rate = inf }': "learning_rate",
        base + 'architecture = { name = "small_cnn" }\noptimizer = { nesterov = true }': "nesterov",
        base + 'architecture = { name = "small_cnn" }\noptimizer = { momentum = 0.9 }': "no `momentum` with adam",
        base + 'architecture = { name = "small_cnn" }\nschedule = { milestones = [-1, 5] }': "between 0 and 1",
        base + 'architecture = { name = "small_cnn" }\naugmentation = { shift = 8 }': "below the image's 8 pixels",
        base + 'architecture = { name = "keras_lstm" }': "expected an architecture for image inputs.*got keras_lstm",
        base + 'architecture = { name = "gru" }': "expected an architecture for image inputs.*got gru",
        'name = "x"\ndata = "breast-cancer"\narchitecture = { name = "small_cnn" }': "for tabular inputs",
        'name = "x"\ndata = "breast-cancer"\narchitecture = { name = "mlp" }\naugmentation = { flip = true }': "images",
    }
    for text, message in cases.items():
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            train(path, out=tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not list((tmp_path / "out").glob("*"))
    with pytest.raises(InputError, match="recipe file"):
        Recipe.read(tmp_path / "none.toml")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_broken_initial_weights_are_refused(framework: str, tmp_path: Path) -> None:
    base = train(small(framework), out=tmp_path / "base")
    weights = base / {"torch": "model.safetensors", "keras": "model.keras"}[framework]
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="expected a whole"):
        train(str(base), "digits", out=tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="expected a folder"):
        train(small("torch"), out=tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"
