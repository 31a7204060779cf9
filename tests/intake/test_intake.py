"""Models of strangers: what is sound is taken in as it is; what is hostile is refused in one line, and runs nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from xaibench import load_data, load_model
from xaibench.errors import InputError
from xaibench.homes import model_names
from xaibench.intake import Request, archives, door, is_added, remove_added, take_in
from xaibench.intake.examine import examine
from xaibench.intake.keras_config import LAYERS, check_configuration
from xaibench.intake.request import UPLOAD

PARAMS = {"input_shape": [1, 8, 8], "classes": 10, "width": 4, "hidden": 16}
HOSTILE = '../<img src=x onerror="alert(1)">'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path / "models"))
    return tmp_path / "models"


def weights(**told: Any) -> Request:
    given = {"title": "Mine", "format": "safetensors", "data": "digits", "architecture": "small_cnn", "params": PARAMS}
    return Request(**{**given, **told})


def saved(value: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def looked_at(request: Request, upload: bytes, folder: Path) -> None:
    """What the process of `take_in` does with an upload, without the process: refusals are quick this way."""
    folder.mkdir(exist_ok=True)
    (folder / "request.json").write_text(request.model_dump_json(), encoding="utf-8")
    (folder / f"{UPLOAD}.{request.format}").write_bytes(upload)
    examine(folder, folder / door.MADE, "own-mine")


def test_weights_are_the_same_model_once_taken_in(home: Path, toy_models: Path) -> None:
    there = load_model(toy_models / "toy-image")
    assert there.card is not None
    told = {"title": HOSTILE, "mean": there.card.mean, "std": there.card.std}
    with open(toy_models / "toy-image" / "model.safetensors", "rb") as file:
        name = take_in(weights(**told), file)
    assert name.startswith("own-img-src-x-onerror-alert-1-")
    assert model_names() == (name,)
    here = load_model(name)
    data = load_data("digits", n=20)
    assert isinstance(data.inputs, torch.Tensor)
    assert torch.equal(here.logits(data.inputs), there.logits(data.inputs))
    assert here.card is not None
    assert here.card.name == name
    assert here.card.summary == HOSTILE
    assert here.card.metrics["test"]["accuracy"] == there.card.metrics["test"]["accuracy"]
    assert here.card.weights_digest == here.digest
    assert [path.name for path in home.iterdir()] == [name], "nothing is left aside"
    assert is_added(home / name)


@pytest.mark.filterwarnings("ignore:No complete tensor found:UserWarning")
def test_a_program_of_torch_export_is_taken_in(home: Path, toy_models: Path, tmp_path: Path) -> None:
    there = load_model(toy_models / "toy-image")
    data = load_data("digits", n=4)
    assert isinstance(data.inputs, torch.Tensor)
    torch.export.save(there.export(data.inputs), tmp_path / "program.pt2")  # type: ignore[attr-defined]
    with open(tmp_path / "program.pt2", "rb") as file:
        name = take_in(Request(title="program", format="pt2", data="digits"), file)
    assert torch.allclose(load_model(name).logits(data.inputs), there.logits(data.inputs), atol=1e-5)


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.place),)


def test_pickles_are_refused_and_not_run(home: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    refused = r"expected (nothing but tensors|a whole file of tensors)"
    with pytest.raises(InputError, match=refused) as caught:
        take_in(weights(format="pt"), saved(Bomb(mark)))
    assert "\n" not in str(caught.value)
    assert str(home) not in str(caught.value)
    for file in (saved({"conv1.weight": Bomb(mark)}), io.BytesIO(pickle.dumps(Bomb(mark)))):
        with pytest.raises(InputError, match=refused):
            looked_at(weights(format="pt"), file.getvalue(), tmp_path / "aside")
    assert not mark.exists()
    assert list(home.iterdir()) == []


def test_what_is_no_model_is_refused(home: Path, toy_models: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="empty one"):
        take_in(weights(), io.BytesIO())
    assert list(home.iterdir()) == []
    stored = (toy_models / "toy-image" / "model.safetensors").read_bytes()
    other = weights(architecture="lenet", params={"input_shape": [1, 8, 8], "classes": 10})
    bad = saved({key: value.fill_(float("nan")) for key, value in load_state(toy_models).items()})
    refusals = (
        (weights(), b"\xff" * 1000, "whole safetensors file"),
        (other, stored, "expected"),
        (weights(format="pt"), bad.getvalue(), "finite logits"),
    )
    for request, upload, message in refusals:
        with pytest.raises(InputError, match=message):
            looked_at(request, upload, tmp_path / "aside")
        assert not (tmp_path / "aside" / door.MADE).exists()


def load_state(toy_models: Path) -> dict[str, torch.Tensor]:
    from xaibench.classifiers.weights import read_state

    return read_state(toy_models / "toy-image" / "model.safetensors")


def test_a_network_too_large_for_the_machine_ends_alone(home: Path) -> None:
    huge = {**PARAMS, "hidden": 100_000_000}
    with pytest.raises(InputError, match=r"expected|could not be looked at"):
        take_in(weights(params=huge), io.BytesIO(b"\x08" + bytes(100)))


def test_what_takes_too_long_is_ended(home: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MODEL_SECONDS", 0.1)
    with open(toy_models / "toy-image" / "model.safetensors", "rb") as file, pytest.raises(InputError, match=r"0\.1 s"):
        take_in(weights(), file)
    assert list(home.iterdir()) == []


def test_there_is_room_for_so_many_and_so_large_only(
    home: Path, toy_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MODEL_BYTES", 1000)
    with open(toy_models / "toy-image" / "model.safetensors", "rb") as file, pytest.raises(InputError, match="at most"):
        take_in(weights(), file)
    monkeypatch.setattr(door, "MOST_ADDED", 0)
    with pytest.raises(InputError, match="remove one first"):
        take_in(weights(), io.BytesIO(b"x"))


@pytest.mark.parametrize(
    "told",
    [
        {"format": "../../x"},
        {"format": "h5"},
        {"title": ""},
        {"title": "x" * 10_000},
        {"class_names": ["x" * 10_000]},
        {"class_names": [str(index) for index in range(2000)]},
        {"mean": [float("nan")]},
        {"path": "/etc/passwd"},
    ],
)
def test_what_is_said_of_a_model_is_checked(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        weights(**told)


@pytest.mark.parametrize("data", ["/etc", "../data", "owner/name", "no-such-set"])
def test_only_data_sets_with_a_name_are_read(home: Path, data: str) -> None:
    with pytest.raises(InputError, match=f"at hand here .*breast-cancer, .*got '{data}'$"):
        take_in(weights(data=data), io.BytesIO(b"x"))
    assert not home.exists() or not any(home.iterdir())


def test_a_second_model_waits_for_the_first(home: Path) -> None:
    with (
        door._ONE_AT_A_TIME,
        pytest.raises(InputError, match=r"another model is being added: .* in 10 minutes at most"),
    ):
        take_in(weights(), io.BytesIO(b"x"))
    with pytest.raises(InputError, match="expected a file, got none"):
        take_in(weights())
    assert not any(home.iterdir())


def test_only_what_was_added_can_be_removed(home: Path, toy_models: Path) -> None:
    folder = home / "own-mine"
    for made in (folder, home / "shipped"):
        made.mkdir(parents=True)
        (made / door._MARK).touch()
    (home / "own-link").symlink_to(folder)
    assert is_added(folder)
    for other in (home / "shipped", home / "own-link", toy_models / "toy-image", home / ".." / "models"):
        with pytest.raises(InputError, match="added through the app"):
            remove_added(other)
    remove_added(folder)
    assert not folder.exists()


LAYER = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}
MODEL = {"module": "keras", "class_name": "Sequential", "config": {"layers": [LAYER]}, "registered_name": None}


def keras_file(folder: Path, config: object, fill: Callable[[h5py.File], None] = lambda _: None, **more: bytes) -> Path:
    weights_path = folder / "weights.h5"
    with h5py.File(weights_path, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.zeros((2, 3)))
        fill(file)
    path = folder / "upload.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.write(weights_path, "model.weights.h5")
        for name, content in more.items():
            archive.writestr(name.replace("__", "/"), content)
    return path


def linked(file: h5py.File) -> None:
    file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")


def outside(file: h5py.File) -> None:
    file.create_dataset("outside", (10,), "u1", external=[("/etc/passwd", 0, 10)])


def borrowed(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((10,), "u1")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (10,))
    file.create_virtual_dataset("borrowed", layout)


def endless(file: h5py.File) -> None:
    file.create_dataset("endless", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


def test_a_plain_keras_model_passes(tmp_path: Path) -> None:
    archives.check_keras(keras_file(tmp_path, MODEL), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"class_name": "Lambda"},
        {"class_name": "TFSMLayer"},
        {"class_name": "__lambda__"},
        {"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
        {"class_name": ["Dense"]},
        *({"module": "keras", "class_name": f"layers.{name}"} for name in ("Lambda", "StringLookup", "TFSMLayer")),
        {"module": "keras", "class_name": "layers.Dense"},
        {"module": "keras.models", "class_name": "load_model"},
        {"module": "os", "class_name": "system"},
        {"module": "builtins", "class_name": "eval"},
        {"module": "keras.src.utils.file_utils", "class_name": "get_file"},
        {"module": "keras.src.ops.core", "class_name": "Map"},
        {"module": "keras.utils", "class_name": "get_file"},
        {"module": "keras.layers.evil", "class_name": "x"},
        {"module": ["os"], "class_name": "x"},
        {"module": None},
        {"module": None, "registered_name": "Custom>Evil"},
        {"registered_name": "Custom>Evil"},
        {"module": "keras", "class_name": "function", "config": "utils.get_file"},
        {"module": "builtins", "class_name": "function", "config": "get_file"},
        {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "get_file"},
        {"module": "builtins", "class_name": "function", "config": ["relu"]},
    ],
)
def test_what_reaches_out_of_keras_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    deep = {**MODEL, "config": {"layers": [LAYER, {**LAYER, "config": {"inner": [{**LAYER, **changes}]}}]}}
    with pytest.raises(InputError, match="layers of Keras that compute only"):
        archives.check_keras(keras_file(tmp_path, deep), tmp_path)


def test_what_keras_writes_of_plain_models_passes() -> None:
    import keras

    for name in LAYERS:
        assert issubclass(getattr(keras.layers, name, keras.layers.Dense), keras.layers.Layer), name
    inputs = keras.Input((4,))
    doubled = keras.ops.concatenate([inputs * 2 + 1, keras.ops.exp(inputs)], axis=1)
    functional = keras.Model(inputs, keras.layers.Dense(2, activation=keras.ops.exp)(doubled[:, :3]))
    whole = keras.Sequential([functional, keras.layers.Activation("gelu"), keras.layers.Dense(2, "relu")])
    whole.compile("adam", "sparse_categorical_crossentropy")
    check_configuration(keras.saving.serialize_keras_object(whole))


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        (linked, "links to elsewhere"),
        (outside, "numbers that lie elsewhere"),
        (borrowed, "numbers that lie elsewhere"),
        (endless, "MB of weights"),
    ],
)
def test_weights_lie_in_the_file(tmp_path: Path, fill: Callable[[h5py.File], None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        archives.check_keras(keras_file(tmp_path, MODEL, fill), tmp_path)


def test_archives_hold_nothing_else_and_do_not_blow_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("..__..__evil", "assets__vocabulary.txt", "__etc__passwd"):
        with pytest.raises(InputError, match="only a configuration and weights"):
            archives.check_keras(keras_file(tmp_path, MODEL, lambda _: None, **{name: b""}), tmp_path)
    for config in ("[" * 100_000, "{", "\xff"):
        with pytest.raises(InputError, match="breaks off or is damaged"):
            archives.check_keras(keras_file(tmp_path, config), tmp_path)
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", bytes(3_000_000))
    monkeypatch.setattr(archives, "_UNPACKED", 2_000_000)
    with pytest.raises(InputError, match="once unpacked"):
        archives.check_unpacked_size(bomb)
    bomb.write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="whole archive"):
        archives.check_unpacked_size(bomb)


def test_a_lambda_layer_is_not_run(home: Path, tmp_path: Path) -> None:
    import keras

    mark = tmp_path / "ran"

    place = str(mark)

    def reaching(x: Any) -> Any:
        os.makedirs(place, exist_ok=True)
        return x

    model = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Lambda(reaching), keras.layers.Flatten()])
    mark.rmdir()
    model.save(tmp_path / "lambda.keras")
    with open(tmp_path / "lambda.keras", "rb") as file, pytest.raises(InputError, match="without code"):
        take_in(Request(title="evil", format="keras", data="digits"), file)
    assert not mark.exists()
