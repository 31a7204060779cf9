"""Exported programs and SavedModels: they answer as their originals, and nothing in them is run to read them."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaibench import InputError, TorchClassifier, UnsupportedError
from xaibench.classifiers import ExportedClassifier, SavedModelClassifier
from xaibench.classifiers.runtime import tensorflow
from xaibench.types import Capability

X = torch.rand(5, 2, 6, 5, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1])


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 3, 3)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.head(torch.relu(self.norm(self.conv(x))).mean((2, 3))), dim=1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return Network().eval()


@pytest.fixture(scope="module")
def exported(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.pt2"
    program = torch.export.export(network, (X,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, path)
    return path


def test_exported_program_equals_its_module(network: nn.Module, exported: Path) -> None:
    model = ExportedClassifier(exported, mean=0.5)
    original = TorchClassifier(network, mean=0.5)
    assert model.input_shape == (2, 6, 5)
    torch.testing.assert_close(model.logits(X), original.logits(X))
    for mine, other in zip(model.loss_gradient(X, Y, "dlr"), original.loss_gradient(X, Y, "dlr"), strict=True):
        torch.testing.assert_close(mine, other)
    assert Capability.LOGITS in model.capabilities
    with pytest.raises(UnsupportedError, match="no activations: an exported program is one graph without layers"):
        model.activations(X, "conv")


def test_program_of_one_batch_size_takes_any(network: nn.Module, tmp_path: Path) -> None:
    torch.export.save(torch.export.export(network, (X[:2],)), tmp_path / "two.pt2")
    model = ExportedClassifier(tmp_path / "two.pt2")
    for n in (1, 2, 5):
        result = model.loss_gradient(X[:n], Y[:n])
        for mine, other in zip(result, TorchClassifier(network).loss_gradient(X[:n], Y[:n]), strict=True):
            torch.testing.assert_close(mine, other)


class Payload:
    """Leaves a trace where it is unpickled."""

    trace = Path("unpickled")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def _changed(path: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))
    return target


def _pickled_samples(name: str, content: bytes) -> tuple[str, bytes]:
    if not name.endswith("sample_inputs/model.pt"):
        return name, content
    buffer = io.BytesIO()
    torch.save(((Payload(),), {}), buffer)
    return name, buffer.getvalue()


def _pickled_weights(name: str, content: bytes) -> tuple[str, bytes]:
    if name.endswith("model_weights_config.json"):
        config = json.loads(content)
        for entry in config["config"].values():
            entry["use_pickle"] = True
        return name, json.dumps(config).encode()
    buffer = io.BytesIO()
    torch.save(Payload(), buffer)
    return (name, buffer.getvalue()) if "/weight_" in name else (name, content)


def _in_program(change: Callable[[Any], None]) -> Callable[[str, bytes], tuple[str, bytes]]:
    def apply(name: str, content: bytes) -> tuple[str, bytes]:
        if not name.endswith("models/model.json"):
            return name, content
        program = json.loads(content)
        change(program)
        return name, json.dumps(program).encode()

    return apply


CODE = "__import__('pathlib').Path('unpickled').touch()"


def _evil_expression(program: Any) -> None:
    for value in program["graph_module"]["graph"]["tensor_values"].values():
        value["sizes"][:1] = [{"as_expr": {"expr_str": CODE, "hint": None}}]


def _evil_operator(program: Any) -> None:
    program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.serialization.os.system"


def _evil_name(program: Any) -> None:
    program["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={CODE}"]


def _evil_guard(program: Any) -> None:
    program["guards_code"] = [CODE]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_pickled_weights, "as plain bytes of a tensor, got a pickle"),
        (_in_program(_evil_expression), "expected a graph of plain tensor operators in .*, got expr_str"),
        (_in_program(_evil_operator), r"got target: 'torch\.serialization\.os\.system'"),
        (_in_program(_evil_name), "expected a graph of plain tensor operators in .*, got forward_arg_names"),
        (lambda name, content: (name.replace("weights/weight_0", "constants/custom_obj_0"), content), "custom_obj_0"),
    ],
)
def test_archives_with_code_are_refused_unrun(
    change: Any, message: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = _changed(exported, tmp_path / "evil.pt2", change)
    with pytest.raises(InputError, match=message) as caught:
        ExportedClassifier(path)
    assert "\n" not in str(caught.value)
    assert not Path("unpickled").exists()


@pytest.mark.parametrize("change", [_pickled_samples, _in_program(_evil_guard)])
def test_parts_that_could_hold_code_and_are_not_needed_are_left_out(
    change: Any, exported: Path, network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = ExportedClassifier(_changed(exported, tmp_path / "odd.pt2", change))
    torch.testing.assert_close(model.logits(X), TorchClassifier(network).logits(X))
    assert not Path("unpickled").exists()


def test_the_payload_would_have_run(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.load(io.BytesIO(_pickled_samples("sample_inputs/model.pt", b"")[1]), weights_only=False)
    assert Path("unpickled").exists()


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_broken_archives_are_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.pt2"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected a whole torch\.export archive"):
        ExportedClassifier(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("saved") / "model"
    model.export(path, verbose=False)
    return model, path


def test_saved_model_equals_its_original(saved: tuple[Any, Path]) -> None:
    from xaibench import KerasClassifier

    original, model = KerasClassifier(saved[0], mean=0.5, std=0.25), SavedModelClassifier(saved[1], mean=0.5, std=0.25)
    assert model.input_shape == (2, 6, 5)
    torch.testing.assert_close(model.logits(X), original.logits(X))
    for mine, other in zip(model.loss_gradient(X, Y, "margin"), original.loss_gradient(X, Y, "margin"), strict=True):
        torch.testing.assert_close(mine, other)
    point = X.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model.logits(point), Y, reduction="sum")
    torch.testing.assert_close(torch.autograd.grad(loss, point)[0], model.loss_gradient(X, Y).gradient)
    assert {Capability.LOGITS, Capability.GRADIENTS} <= model.capabilities
    assert (
        model.digest
        == SavedModelClassifier(saved[1], mean=0.5, std=0.25).digest
        != SavedModelClassifier(saved[1]).digest
    )


def test_saved_model_that_ends_otherwise_is_read_as_it_is(tmp_path: Path) -> None:
    tf = tensorflow()
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    spec = tf.TensorSpec((None, 4), "float32")
    module = tf.Module()
    module.run = tf.function(lambda x: {"y": tf.matmul(x, weight)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "linear"), signatures=module.run)
    x = torch.rand(3, 4)
    model = SavedModelClassifier(tmp_path / "linear", task="tabular")
    torch.testing.assert_close(model.logits(x), x @ torch.from_numpy(weight))


def test_saved_models_that_reach_out_are_refused(tmp_path: Path) -> None:
    tf = tensorflow()
    spec = tf.TensorSpec((None, 4), "float32")

    def write(x: Any) -> Any:
        tf.io.write_file(str(tmp_path / "written"), "code was here")
        return {"y": x}

    module = tf.Module()
    module.run = tf.function(write, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "evil"), signatures=module.run)
    with pytest.raises(InputError, match="got the operation WriteFile"):
        SavedModelClassifier(tmp_path / "evil", task="tabular")
    assert not (tmp_path / "written").exists()


def test_broken_saved_models_are_named(saved: tuple[Any, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a SavedModel folder with saved_model\.pb"):
        SavedModelClassifier(tmp_path)
    content = (saved[1] / "saved_model.pb").read_bytes()
    (tmp_path / "saved_model.pb").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="expected a whole SavedModel"):
        SavedModelClassifier(tmp_path)
