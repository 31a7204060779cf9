"""``xaibench harden``: a hardened copy by one command, what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xaibench.card import Card
from xaibench.cli import run
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.threats import Linf
from xaibench.training import harden, train
from xaibench.training.hardening import hardening_recipe
from xaibench.zoo import load_model

FEW = 'batch_size = 256\n[probe]\nattack = "fgsm"\nsamples = 40\n'


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))
    (tmp_path / "few.toml").write_text(FEW)
    (tmp_path / "odd.toml").write_text('threat = "x"')
    (tmp_path / "odder.toml").write_text('objective = "x"')
    (tmp_path / "oddest.toml").write_text('[threat]\neps = "0.1"')
    images, labels = np.zeros((4, 1, 28, 28), np.float32), np.arange(4) % 2
    np.savez(tmp_path / "mnist-like.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return tmp_path


def test_a_model_is_hardened_from_its_weights(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["harden", "toy-image", "--objective", "fgsm_rs", "--eps", "0.05", "--epochs", "1"]
    assert run([*arguments, "--recipe", "few.toml", "--seed", "3"]) == 0
    out, _ = capfd.readouterr()
    before, after, folder = out.splitlines()
    assert before.startswith("before: clean ")
    assert after.startswith("after:  clean ")
    assert folder == "models/toy-image-robust"
    card = Card.read(workplace / folder / "config.json")
    assert card.name == "toy-image-robust"
    recipe = card.recipe
    assert (recipe["init"], recipe["epochs"], recipe["seed"], recipe["batch_size"]) == ("toy-image", 1, 3, 256)
    assert recipe["objective"]["name"] == "fgsm_rs"
    assert (recipe["threat"]["norm"], recipe["threat"]["eps"]) == ("linf", 0.05)
    assert (workplace / folder / "log.jsonl").exists()
    assert run([*arguments, "--recipe", "few.toml"]) == 2
    assert "without a model, got models/toy-image-robust" in capfd.readouterr().err
    # What is finished is neither replaced nor gone on with because of --resume.
    written = (workplace / folder / "config.json").read_bytes()
    for more in ([], ["--out", folder]):
        assert run([*arguments, "--recipe", "few.toml", "--resume", *more]) == 2
        assert capfd.readouterr().err.startswith(f"xaibench: error: nothing to resume in {folder}")
    assert run([*arguments, "--recipe", "few.toml", "--out", folder]) == 2
    assert (workplace / folder / "config.json").read_bytes() == written
    assert run([*arguments, "--recipe", "few.toml", "--out", folder, "--overwrite", "--seed", "4"]) == 0
    assert Card.read(workplace / folder / "config.json").recipe["seed"] == 4
    assert run([*arguments, "--out", "models", "--overwrite"]) == 2
    assert "expected a folder for one model, got models" in capfd.readouterr().err


def test_what_was_won_is_said_as_json(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["harden", "toy-table", "--objective", "fgsm_rs", "--eps", "0.05", "--epochs", "1", "--json"]
    assert run([*arguments, "--recipe", "few.toml"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert set(found) == {"folder", "before", "after", "alarms", "validation_seen"}
    assert set(found["before"]) == set(found["after"]) == {"clean", "robust", "n", "seen"}
    assert Card.read(workplace / found["folder"] / "config.json").name == "toy-table-robust"


def test_the_summary_is_what_the_models_score(workplace: Path) -> None:
    found = harden(
        "toy-table", objective="fgsm_rs", epochs=1, batch_size=256, threat=Linf(0.05), probe={"attack": "fgsm"}
    )
    test = load_data(Card.read(found.folder / "config.json").data.name, "test")
    assert found.after.n == min(512, len(test))
    if found.after.n == len(test):
        for scores, model in ((found.before, load_model("toy-table")), (found.after, load_model(found.folder))):
            assert scores.clean == pytest.approx(float((model.predict(test.inputs) == test.labels).double().mean()))
            assert scores.robust <= scores.clean
    # A radius in the units of the features, as the threat said, not in shares of their ranges.
    assert Card.read(found.folder / "config.json").recipe["threat"]["scale"] == [1.0]


def test_the_derived_recipe() -> None:
    again = hardening_recipe("toy-image", from_scratch=True, norm="l2")
    assert again.init is None
    assert again.architecture is not None
    assert not {"classes", "input_shape"} & again.architecture.params.keys()
    assert again.objective.name == "trades"
    assert again.threat is not None
    assert again.threat.norm == "l2"
    assert again.validation > 0
    own = hardening_recipe("toy-image", changes={"probe": {"samples": 30}, "threat": {"warmup": 0.5}}, eps=0.2)
    assert own.threat is not None
    assert (own.threat.warmup, own.threat.eps, own.probe.samples) == (0.5, 0.2, 30)
    assert hardening_recipe("toy-text").threat.norm == "words"  # type: ignore[union-attr]  # there is one


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "unknown model 'nobody'"),
        (["my_module:make"], "cannot be hardened"),
        (["toy-table", "--n", "50"], "train on more rows (`n`), or by a recipe with a larger `validation`"),
        (["toy-image", "--eps", "7"], "the size of the box"),
        (["toy-image", "--eps", "-1"], "expected eps > 0"),
        (["toy-image", "--norm", "l7"], "as the norm to train against, got l7"),
        (["toy-image", "--norm", "words"], "for image, got words"),
        (["toy-image", "--objective", "tradez"], "did you mean 'trades'"),
        (["toy-image", "--attack-mode", "sleep"], "attack_mode"),
        (["toy-image", "--on-overfitting", "cry"], "on_overfitting"),
        (["toy-image", "--recipe", "none.toml"], "recipe file"),
        (["toy-image", "--resume"], "nothing to resume in models/toy-image-robust"),
        (["toy-image", "--objective", "word_substitution"], "for image data (adversarial, awp, distillation"),
        (["toy-text", "--objective", "trades"], "got trades, for image and tabular data"),
        (["toy-text", "--objective", "awp"], "got awp, for image and tabular data"),
        (["toy-text", "--objective", "free_lb", "--eps", "99999"], "words, the length of a text, got 99999"),
        (["toy-text", "--eps", "2.5"], "a whole number"),
        (["toy-image", "--data", "mnist-like.npz"], "expected inputs of shape (1, 8, 8) to fine-tune"),
        (["toy-image", "--recipe", "odd.toml"], "expected a table of fields as `threat`, got 'x'"),
        (["toy-image", "--recipe", "odder.toml"], "`objective`"),
        (["toy-image", "--recipe", "oddest.toml"], "expected eps > 0, got '0.1'"),
        (["toy-image", "--track", "paper"], "tensorboard, mlflow, got 'paper'"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], message: str, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["harden", *arguments]) == 2
    err = capfd.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (workplace / "models").exists() or not any((workplace / "models").iterdir())


def test_figures_go_to_tensorboard(workplace: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    changes: dict[str, Any] = {"epochs": 2, "batch_size": 256, "probe": {"attack": "fgsm", "samples": 40}}
    found = harden("toy-image", objective="fgsm_rs", eps=0.05, track="tensorboard", **changes)
    read = events.EventAccumulator(str(found.folder / "tensorboard"))
    read.Reload()
    tags = read.Tags()["scalars"]
    assert {"step/loss", "epoch/validation_robust_accuracy"} <= set(tags)
    history = Card.read(found.folder / "config.json").history
    scores = [event.value for event in read.Scalars("epoch/validation_robust_accuracy")]
    assert scores == pytest.approx([line["validation_robust_accuracy"] for line in history])


def test_a_run_that_failed_at_once_leaves_nothing_also_not_of_its_tracker(workplace: Path) -> None:
    pytest.importorskip("tensorboard")
    kept = workplace / "kept"
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    for out in ("new", "kept"):
        with pytest.raises(InputError, match="expected a finite loss"):
            harden("toy-table", out=out, track="tensorboard", optimizer={"learning_rate": 1e30})
    assert not (workplace / "new").exists()
    assert [path.name for path in kept.iterdir()] == ["notes.txt"]


def test_a_tracker_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match="expected mlflow to be installed"):
        harden("toy-image", objective="fgsm_rs", eps=0.05, track="mlflow", epochs=1)


def test_what_is_no_description_of_a_network_is_one_sentence() -> None:
    given: Any = load_model("toy-image")
    for call in (harden, train):
        with pytest.raises(InputError, match=r"by its folder with config\.json, from which the network is built anew"):
            call(given)


def test_a_model_is_not_replaced_by_its_own_copy(toy_models: Path) -> None:
    with pytest.raises(InputError, match="another folder than the model's own"):
        harden("toy-image", out=toy_models / "toy-image", overwrite=True)


def test_a_radius_that_is_only_probed_is_not_called_trained_against() -> None:
    assert (
        "trained by standard; its best epoch was chosen under"
        in hardening_recipe("toy-image", objective="standard").summary
    )
    assert "trained by trades against changes of up to 0.1 (linf)" in hardening_recipe("toy-image").summary
