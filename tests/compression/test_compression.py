"""Compressed copies: each method against a formula of its own, what copies keep, and what is refused."""

from __future__ import annotations

import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from xaibench.card import Card, RobustAccuracy
from xaibench.classifiers import TorchClassifier
from xaibench.classifiers.packed import packed, unpacked
from xaibench.classifiers.weights import load_keras
from xaibench.cli import run
from xaibench.compression import Distill, compress
from xaibench.compression.base import Job
from xaibench.compression.kernels import kernel_names
from xaibench.compression.prune import smallest_removed
from xaibench.data import load_data
from xaibench.errors import InputError, UnsupportedError
from xaibench.training import Recipe, train
from xaibench.zoo import load_model


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(toy_models))


@pytest.fixture(scope="module")
def keras_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture = {"name": "keras_mlp", "params": {"hidden": [16]}}
    recipe = {"name": "toy-keras", "data": "digits", "n": 600, "architecture": architecture, "epochs": 2}
    return train(Recipe.of(recipe), out=tmp_path_factory.mktemp("keras") / "toy-keras")


def weights(folder: Path) -> dict[str, Tensor]:
    return unpacked(load_file(folder / "model.safetensors"))


def test_packing_is_symmetric_quantisation_per_channel() -> None:
    from torch.ao.quantization import PerChannelMinMaxObserver

    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, 2, 2, generator=generator) * torch.tensor([1e-3, 1, 10, 0, 5]).reshape(-1, 1, 1, 1)
    weight[1, 0] = 0
    bias = torch.randn(5, generator=generator)
    state = packed({"weight": weight, "bias": bias}, {"weight"})
    observer = PerChannelMinMaxObserver(0, torch.qint8, torch.per_channel_symmetric, quant_min=-127, quant_max=127)
    observer(weight)
    scale, zero = observer.calculate_qparams()
    scale[3] = 1.0  # the channel of zeros, where any scale will do
    expected = torch.fake_quantize_per_channel_affine(weight, scale, zero.int(), 0, -127, 127)
    found = unpacked(state)
    assert state["weight"].dtype == torch.int8
    assert state["weight"].numel() + 4 * 5 < weight.numel() * 4
    torch.testing.assert_close(found["weight"], expected, rtol=1e-6, atol=0)
    assert (found["weight"][1, 0] == 0).all()
    assert (found["weight"][3] == 0).all()
    assert torch.equal(found["bias"], bias)
    assert found.keys() == {"weight", "bias"}


def test_what_cannot_be_packed_or_unpacked_is_refused() -> None:
    with pytest.raises(InputError, match="expected finite weights to quantise, got others in 'a'"):
        packed({"a": torch.tensor([[math.nan]])}, {"a"})
    for damaged in ({}, {"a": torch.zeros(2, 2)}, {"a": torch.zeros(3, 2, dtype=torch.int8)}):
        with pytest.raises(InputError, match="expected int8 numbers beside 'a:scale'"):
            unpacked({"a:scale": torch.ones(2), **damaged})


def test_the_smallest_weights_of_all_kernels_become_zero() -> None:
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=(4, 5)), rng.normal(size=(3, 2, 2)) * 0.1]
    threshold = np.sort(np.abs(np.concatenate([kernel.ravel() for kernel in kernels])))[10]
    found = smallest_removed([torch.from_numpy(kernel) for kernel in kernels], 10 / 32)
    for kernel, pruned in zip(kernels, found, strict=True):
        np.testing.assert_array_equal(pruned.numpy(), np.where(np.abs(kernel) < threshold, 0, kernel))


def test_shared_parameters_stay_shared() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    assert kernel_names(nn.Sequential(first, nn.BatchNorm1d(3), second)) == {"0.weight", "2.weight"}


@pytest.mark.parametrize("name", ["toy-image", "toy-table", "toy-text"])
def test_a_pruned_copy_is_the_model_with_zeros(name: str, toy_models: Path, tmp_path: Path) -> None:
    found = compress(name, "prune:amount=0.3", out=tmp_path / "copy")
    before, after = weights(toy_models / name), weights(tmp_path / "copy")
    kernels = [key for key, value in before.items() if value.ndim >= 2]
    assert found.after.zeros == round(0.3 * sum(before[key].numel() for key in kernels))
    for key, value in before.items():
        kept = after[key] != 0 if key in kernels else torch.ones_like(value, dtype=torch.bool)
        assert torch.equal(after[key], torch.where(kept, value, 0))
    largest = max(float(before[key][after[key] == 0].abs().max()) for key in kernels if (after[key] == 0).any())
    smallest = min(float(after[key][after[key] != 0].abs().min()) for key in kernels)
    assert largest <= smallest
    card = Card.read(tmp_path / "copy" / "config.json")
    assert card.name == f"{name}-pruned30"
    assert card.compression[0].params == {"amount": 0.3, "rate": 0.1}
    assert card.compression[0].source_digest == load_model(name).digest
    assert found.after.accuracy == card.metrics["test"]["accuracy"]
    assert "xaibench compress" in (tmp_path / "copy" / "README.md").read_text()
    assert [path.name for path in (tmp_path / "copy").glob(".*")] == []


@pytest.mark.parametrize("name", ["toy-image", "toy-text"])
def test_a_quantised_copy_computes_with_the_numbers_of_its_file(name: str, toy_models: Path, tmp_path: Path) -> None:
    found = compress(name, "quantize", out=tmp_path / "copy")
    assert found.after.bytes < found.before.bytes
    stored = load_file(tmp_path / "copy" / "model.safetensors")
    model, source = load_model(tmp_path / "copy"), load_model(name)
    assert isinstance(model, TorchClassifier)
    assert isinstance(source, TorchClassifier)
    reference = dict(source.module.named_parameters())
    for key, value in model.module.named_parameters():
        if value.ndim < 2:
            assert torch.equal(value, reference[key])
            continue
        scale = reference[key].detach().flatten(1).abs().amax(1).reshape(-1, *(1,) * (value.ndim - 1)) / 127
        assert stored[key].dtype == torch.int8
        torch.testing.assert_close(value.detach(), scale * stored[key], rtol=1e-6, atol=0)
        assert ((value - reference[key]).abs() <= scale * 0.5001).all()


def test_gradients_of_a_quantised_copy_are_those_of_its_outputs(tmp_path: Path) -> None:
    model = load_model(compress("toy-table", "quantize", out=tmp_path / "copy").folder)
    assert isinstance(model, TorchClassifier)
    exact = model.double()
    data = load_data("breast-cancer", n=4)
    x, y = data.inputs.double(), data.labels  # type: ignore[union-attr]  # a table
    gradient = exact.loss_gradient(x, y).gradient
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    step = 1e-6
    rise = exact.loss_gradient(x + step * direction, y).loss - exact.loss_gradient(x - step * direction, y).loss
    torch.testing.assert_close((gradient * direction).sum(1), rise / (2 * step), rtol=1e-4, atol=1e-6)


def test_steps_add_up_and_zeros_survive_quantisation(tmp_path: Path) -> None:
    compress("toy-image", "prune:amount=0.5", out=tmp_path / "one")
    found = compress(tmp_path / "one", "quantize", out=tmp_path / "two")
    card = Card.read(tmp_path / "two" / "config.json")
    assert card.name == "toy-image-pruned50-int8"
    assert [step.method for step in card.compression] == ["prune", "quantize"]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all((two[key][value == 0] == 0).all() for key, value in one.items() if value.ndim >= 2)
    assert found.after.sparsity >= 0.5


def test_zeros_stay_zero_while_training_goes_on(toy_models: Path, tmp_path: Path) -> None:
    compress("toy-image", "prune:amount=0.6", out=tmp_path / "pruned")
    found = compress("toy-image", "prune:amount=0.6", out=tmp_path / "tuned", epochs=2)
    pruned, tuned = weights(tmp_path / "pruned"), weights(tmp_path / "tuned")
    for key, value in pruned.items():
        if value.ndim >= 2:
            assert torch.equal(tuned[key] == 0, value == 0)
            assert not torch.equal(tuned[key], value)
    card = Card.read(found.folder / "config.json")
    assert card.compression[0].epochs == 2
    assert card.recipe["init"] == "toy-image"
    assert card.recipe["optimizer"]["learning_rate"] == pytest.approx(0.001)
    assert found.after.accuracy == card.metrics["test"]["accuracy"]


def test_an_interrupted_tuning_goes_on(tmp_path: Path) -> None:
    def interrupt(stage: str, done: int, total: int, info: Any) -> None:
        if stage == "epoch" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress("toy-image", "prune", out=tmp_path / "broken", epochs=2, progress=interrupt)
    compress("toy-image", "prune", out=tmp_path / "broken", epochs=2)
    compress("toy-image", "prune", out=tmp_path / "whole", epochs=2)
    assert load_model(tmp_path / "broken").digest == load_model(tmp_path / "whole").digest


def test_a_quantised_model_stays_quantised_when_it_is_pruned(tmp_path: Path) -> None:
    whole = compress("toy-image", "quantize", out=tmp_path / "whole")
    found = compress(tmp_path / "whole", "prune:amount=0.5", out=tmp_path / "pruned")
    assert found.after.bytes == whole.after.bytes
    assert found.after.sparsity == pytest.approx(0.5, abs=0.02)
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "pruned"))
    for key, value in before.items():
        assert after[key].dtype == value.dtype
        kept = after[key] != 0 if value.dtype == torch.int8 else torch.ones_like(value, dtype=torch.bool)
        assert torch.equal(after[key], torch.where(kept, value, 0))
    assert [step.method for step in Card.read(tmp_path / "pruned" / "config.json").compression] == ["quantize", "prune"]
    assert "smaller" not in (tmp_path / "pruned" / "README.md").read_text()
    with pytest.raises(InputError, match=r"expected no epochs for toy-image-int8, which is quantised, got 2"):
        compress(tmp_path / "whole", "prune:amount=0.5", out=tmp_path / "tuned", epochs=2)
    assert not (tmp_path / "tuned").exists()


def test_a_copy_does_not_claim_the_robustness_of_its_model(toy_models: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_models / "toy-image", tmp_path / "hardened")
    path = tmp_path / "hardened" / "config.json"
    card = Card.read(path)
    claim = RobustAccuracy(
        norm="linf",
        eps=0.1,
        attack="autoattack",
        split="test",
        n=10,
        rows="first",
        clean_accuracy=0.9,
        robust_accuracy=0.5,
        interval=(0.2, 0.8),
        weights_digest=card.weights_digest,
    )
    path.write_text(card.model_copy(update={"robustness": (claim,)}).model_dump_json())
    compress(tmp_path / "hardened", "prune:amount=0.9", out=tmp_path / "pruned")
    assert Card.read(tmp_path / "pruned" / "config.json").robustness == ()


def test_keras_models_are_pruned_and_tuned(keras_folder: Path, tmp_path: Path) -> None:
    compress(keras_folder, "prune:amount=0.5", out=tmp_path / "pruned")
    found = compress(keras_folder, "prune:amount=0.5", out=tmp_path / "tuned", epochs=1)
    before = load_keras(keras_folder / "model.keras").get_weights()
    pruned = load_keras(tmp_path / "pruned" / "model.keras").get_weights()
    tuned = load_keras(tmp_path / "tuned" / "model.keras").get_weights()
    for source, zeroed, moved in zip(before, pruned, tuned, strict=True):
        if source.ndim >= 2:
            np.testing.assert_array_equal(zeroed, np.where(zeroed == 0, 0, source))
            np.testing.assert_array_equal(moved == 0, zeroed == 0)
        assert not np.array_equal(moved, zeroed)
    assert found.after.sparsity == pytest.approx(0.5, abs=1e-3)
    with pytest.raises(UnsupportedError, match=r"quantize needs a torch model.* prune or distill it"):
        compress(keras_folder, "quantize", out=tmp_path / "other")


def test_distillation_trains_another_architecture(keras_folder: Path, tmp_path: Path) -> None:
    found = compress(keras_folder, "distill:architecture=small_cnn:width=2", out=tmp_path / "copy", epochs=1)
    card = Card.read(found.folder / "config.json")
    assert (card.framework, card.architecture.name, card.architecture.params["width"]) == ("torch", "small_cnn", 2)
    assert card.name == "toy-keras-to-small-cnn"
    assert card.recipe["objective"]["name"] == "distillation"
    assert card.recipe["objective"]["params"]["teacher"] == str(keras_folder)
    assert found.after.weights < found.before.weights * 10


@pytest.mark.parametrize(("threat", "objective"), [(None, "distillation"), ({"eps": 0.1}, "robust_distillation")])
def test_a_model_with_a_threat_is_distilled_against_it(
    threat: Any, objective: str, toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Recipe] = []
    monkeypatch.setattr(sys.modules["xaibench.compression.distill"], "train", lambda recipe, **_: made.append(recipe))
    card = Card.read(toy_models / "toy-image" / "config.json")
    card = card.model_copy(update={"recipe": card.recipe | ({} if threat is None else {"threat": threat})})
    folder = toy_models / "toy-image"
    Distill(architecture="mlp")(Job(source="toy-image", folder=folder, card=card, name="student", out=tmp_path / "s"))
    assert made[0].objective.name == objective
    assert (made[0].threat is None) == (threat is None)


def test_the_command_says_what_was_won(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["compress", "toy-image", "--quantize", "int8", "--out", "copy"]) == 0
    shown = capfd.readouterr().out
    assert "file of weights, kB" in shown
    assert "test accuracy" in shown
    assert run(["compare", "toy-image", str(tmp_path / "copy"), "--n", "20", "--attack", "fgsm", "--json"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one of --prune, --quantize and --distill, got none"),
        (["--prune", "0.5", "--quantize", "int8"], "got --prune and --quantize"),
        (["--prune", "0"], "expected `amount` > 0 and < 1, got 0.0"),
        (["--prune", "1"], "expected `amount` > 0 and < 1, got 1.0"),
        (["--prune", "nan"], "expected `amount` > 0 and < 1, got nan"),
        (["--prune", "0.5", "--epochs", "-1"], "expected `epochs` >= 0, got -1"),
        (["--prune", "0.5", "--alpha", "0.5"], "expected --alpha with --distill only"),
        (["--prune", "0.5", "--out", "OWN"], "expected `out` as another folder than the model's own"),
        (["--prune", "0.5", "--out", "file"], "expected a folder to write to, got the file file"),
        (["--quantize", "int4"], "expected `dtype` of compression method quantize as 'int8', got 'int4'"),
        (["--quantize", "int8", "--epochs", "2"], "expected no epochs with quantize"),
        (["--distill", "small_cmm"], "unknown architecture 'small_cmm'; did you mean 'small_cnn'?"),
        (["--distill", "small_cnn", "--alpha", "2"], "expected `alpha` >= 0 and <= 1, got 2.0"),
        (["--distill", "small_cnn", "--temperature", "0"], "expected `temperature` > 0, got 0.0"),
        (["--distill", "small_cnn", "--epochs", "0"], "expected epochs >= 1 with distill, got 0"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, toy_models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    before = load_model("toy-image").digest
    given = [str(toy_models / "toy-image") if argument == "OWN" else argument for argument in arguments]
    assert run(["compress", "toy-image", *given]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert load_model("toy-image").digest == before
    assert not (tmp_path / "models").exists()
