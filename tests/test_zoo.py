"""Loading by name, folder, file and factory; and all that must not be loaded."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from xaibench import InputError, TorchClassifier, load_model
from xaibench.architectures import architectures
from xaibench.registry import Spec
from xaibench.types import Bounds
from xaibench.zoo import find_model, model_folder, model_homes, model_names

SPEC = Spec("mlp", {"input_shape": [4], "classes": 3})


def _card(**changes: Any) -> dict[str, Any]:
    card = {
        "name": "toy",
        "task": "tabular",
        "framework": "torch",
        "architecture": {"name": SPEC.name, "params": SPEC.params},
        "input_shape": [4],
        "bounds": [[0, 0, 0, 0], [1, 2, 3, 4]],
        "mean": [0.5, 1, 1.5, 2],
        "std": [1, 1, 2, 2],
        "class_names": ["a", "b", "c"],
        "data": {"name": "none", "digest": ""},
    }
    return {**card, **changes}


def _network() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = architectures.create(SPEC).build()
    return network


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models home with one whole model, and things that are none."""
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(tmp_path))
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(_card()))
    save_file(_network().state_dict(), folder / "model.safetensors")
    for name in (".toy-new", "empty", "no-weights"):
        (tmp_path / name).mkdir()
    (tmp_path / "no-weights" / "config.json").write_text(json.dumps(_card()))
    (tmp_path / ".toy-new" / "config.json").write_text(json.dumps(_card()))
    save_file(_network().state_dict(), tmp_path / ".toy-new" / "model.safetensors")
    return tmp_path


def test_only_whole_models_are_listed(home: Path) -> None:
    assert model_homes() == (home,)
    assert model_names() == ("toy",)
    with pytest.raises(InputError, match="unknown model 'toyy'; did you mean 'toy'"):
        find_model("toyy")


def test_a_folder_of_ones_own_hides_no_shipped_model(
    home: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XAIBENCH_MODELS_HOME")
    (tmp_path / "work" / "models").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert find_model("digits-cnn") == root / "models" / "digits-cnn"
    for name in ("toy", "digits-cnn"):
        (home / "toy").rename(Path("models", name))
        assert find_model(name) == model_folder(name) == Path("models", name)
        assert {name, "digits-mlp"} <= set(model_names())
        Path("models", name).rename(home / "toy")
    assert model_folder(home / "toy") == home / "toy"


def test_name_folder_and_classifier_give_the_same_model(home: Path) -> None:
    x = torch.rand(5, 4)
    by_name, by_folder = load_model("toy"), load_model(home / "toy")
    expected = _network().eval()((x - torch.tensor([0.5, 1, 1.5, 2])) / torch.tensor([1.0, 1, 2, 2]))
    torch.testing.assert_close(by_name.logits(x), expected)
    assert by_name.digest == by_folder.digest
    assert by_name.class_names == ("a", "b", "c")
    assert by_name.bounds.upper == (1, 2, 3, 4)
    assert by_name.card is not None
    assert by_name.card.name == "toy"
    assert load_model(by_name) is by_name


def test_weights_need_their_architecture(home: Path, tmp_path: Path) -> None:
    path = home / "toy" / "model.safetensors"
    with pytest.raises(InputError, match=r"expected `architecture` for model\.safetensors, which holds weights only"):
        load_model(path)
    model = load_model(path, architecture=SPEC, task="tabular")
    torch.save({"state_dict": _network().state_dict()}, tmp_path / "plain.pt")
    other = load_model(tmp_path / "plain.pt", architecture=SPEC, task="tabular")
    assert model.digest == other.digest


FACTORY = """
import torch
def build():
    return torch.nn.Sequential(torch.nn.Linear(4, 3))
def wrapped():
    from xaibench import TorchClassifier
    return TorchClassifier(build(), task="tabular")
"""


def test_factories_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own_networks.py").write_text(FACTORY)
    linear = nn.Sequential(nn.Linear(4, 3))
    save_file(linear.state_dict(), "own.safetensors")
    x = torch.rand(2, 4)
    model = load_model("own_networks:build", weights="own.safetensors", task="tabular")
    torch.testing.assert_close(model.logits(x), linear(x))
    assert isinstance(load_model("own_networks:wrapped"), TorchClassifier)
    with pytest.raises(InputError, match="expected a function at own_networks:bild"):
        load_model("own_networks:bild")
    with pytest.raises(InputError, match="expected a function at no_such_place:build"):
        load_model("no_such_place:build")
    with pytest.raises(InputError, match=r"expected weights '0\.bias' in .*, got none \(1 missing\)"):
        load_model("own_networks:build", weights=_saved("less.safetensors", {"0.weight": torch.zeros(3, 4)}))
    with pytest.raises(InputError, match=r"expected '0\.weight' in .* as \(3, 4\), got \(3, 5\)"):
        load_model(
            "own_networks:build",
            weights=_saved("wide.safetensors", {"0.weight": torch.zeros(3, 5), "0.bias": torch.zeros(3)}),
        )
    with pytest.raises(InputError, match="expected no weights 'x' in"):
        load_model(
            "own_networks:build", weights=_saved("more.safetensors", {**linear.state_dict(), "x": torch.zeros(1)})
        )


BROKEN = """
import torch
number = 3
def of_what(size):
    return torch.nn.Linear(size, 3)
def fails():
    raise KeyError("no such key")
def leaves():
    raise SystemExit(0)
def gives_a_number():
    return 5
"""


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("broken_networks:number", "TypeError: 'int' object is not callable"),
        ("broken_networks:of_what", "TypeError: .*missing 1 required positional argument: 'size'"),
        ("broken_networks:fails", "KeyError: 'no such key'"),
        ("broken_networks:leaves", "SystemExit: 0"),
        ("broken_networks:gives_a_number", "expected a keras.Model, got int"),
        ("unreadable_networks:build", "SyntaxError: "),
        (":build", "ValueError: Empty module name"),
    ],
)
def test_broken_factories_are_named(place: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken_networks.py").write_text(BROKEN)
    Path("unreadable_networks.py").write_text("def build(:\n")
    with pytest.raises(InputError, match=reason) as caught:
        load_model(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "argument"),
    [
        ("toy", {"weights": "none.pt"}),
        ("toy", {"architecture": "mlp"}),
        ("toy/", {"weights": "none.pt"}),
        ("toy/model.safetensors", {"weights": "none.pt"}),
        ("own_networks:build", {"architecture": "mlp"}),
        ("own_networks:wrapped", {"weights": "none.pt"}),
        ("own_networks:wrapped", {"class_names": ["a", "b", "c"]}),
        (TorchClassifier(nn.Linear(4, 3), task="tabular"), {"weights": "none.pt"}),
        (TorchClassifier(nn.Linear(4, 3), task="tabular"), {"mean": 0.5}),
    ],
)
def test_what_would_be_ignored_is_refused(
    source: Any, argument: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    Path("own_networks.py").write_text(FACTORY)
    with pytest.raises(InputError, match=f"expected no `{next(iter(argument))}` with .*, which brings its own"):
        load_model(home / source if source == "toy/" else source, **argument)


def test_defaults_stand_back_behind_options_and_cards(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    Path("own_networks.py").write_text(FACTORY)
    defaults: Any = {"task": "tabular", "bounds": (0, 9), "mean": 7}
    assert load_model("own_networks:build", defaults=defaults).bounds == Bounds(0.0, 9.0)
    assert load_model("own_networks:build", defaults=defaults, bounds=(0, 2)).bounds == Bounds(0.0, 2.0)
    assert load_model("toy", defaults=defaults).digest == load_model("toy").digest
    assert load_model("own_networks:wrapped", defaults=defaults).bounds == Bounds(0.0, 1.0)


def _saved(name: str, state: dict[str, torch.Tensor]) -> str:
    save_file(state, name)
    return name


class Payload:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("unpickled"),))


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_unrun(suffix: str, zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"evil{suffix}"
    torch.save({"0.weight": Payload()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        InputError, match=r"expected nothing but tensors .*: save the `state_dict\(\)` alone$"
    ) as caught:
        load_model(path, architecture=SPEC)
    assert "\n" not in str(caught.value)
    path.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError):
        load_model(path, architecture=SPEC)
    assert not Path("unpickled").exists()
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(InputError, match="expected nothing but tensors"):
        load_model(path, architecture=SPEC)


@pytest.mark.parametrize("keep", [0, 7, 200])
def test_truncated_weights_are_named(keep: int, home: Path) -> None:
    path = home / "toy" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="expected a whole safetensors file") as caught:
        load_model("toy")
    assert "\n" not in str(caught.value)
    torch.save(_network().state_dict(), home / "cut.pt")
    (home / "cut.pt").write_bytes((home / "cut.pt").read_bytes()[:keep])
    with pytest.raises(InputError, match="expected"):
        load_model(home / "cut.pt", architecture=SPEC)


def test_broken_descriptions_are_named(home: Path) -> None:
    for content, message in (
        ("{", "expected a valid model description"),
        (json.dumps(_card(colour="red")), "unknown key `colour`"),
        (json.dumps(_card(framework="jax")), "`framework`"),
        (json.dumps(_card(architecture={"name": "mlpp"})), "unknown architecture 'mlpp'; did you mean"),
        (json.dumps(_card(architecture={"name": "keras_mlp", "params": SPEC.params})), "expected a torch architecture"),
        (
            json.dumps(_card(architecture={"name": "mlp", "params": {**SPEC.params, "hidden": [-1]}})),
            "expected parameters that mlp can be built from",
        ),
        (json.dumps(_card(class_names=["a"])), "expected 3 class names, as the model has outputs, got 1"),
    ):
        (home / "toy" / "config.json").write_text(content)
        with pytest.raises(InputError, match=message):
            load_model("toy").logits(torch.rand(1, 4))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere/model.keras", "expected a model at nowhere/model.keras, got no such file or folder"),
        ("toy.onnx", r"expected a model at toy\.onnx"),
        (3, "expected a model's name, folder, file, module:factory or classifier, got 3"),
    ],
)
def test_what_is_no_model_is_named(source: Any, message: str, home: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_model(source)
    (home / "notes.txt").write_text("no model")
    with pytest.raises(InputError, match=r"expected a model as .*, got notes\.txt"):
        load_model(home / "notes.txt")


def _keras_model(*extra: Any) -> Any:
    from xaibench.classifiers.runtime import tensorflow

    tensorflow()
    import keras
    from keras import layers

    return keras.Sequential([keras.Input((4,)), *extra, layers.Dense(3, activation="softmax")])


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_keras_files(suffix: str, tmp_path: Path) -> None:
    network = _keras_model()
    path = tmp_path / f"model{suffix}"
    network.save(path)
    x = torch.rand(2, 4)
    model = load_model(path, task="tabular")
    torch.testing.assert_close(model.logits(x).softmax(1), torch.from_numpy(network(x.numpy()).numpy()))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match="expected a whole Keras model") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert "not found" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_lambda_layers_are_refused_unrun(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from keras import layers

    network = _keras_model(layers.Lambda(lambda x: (__import__("pathlib").Path("unpickled").touch(), x)[1]))
    path = tmp_path / f"evil{suffix}"
    network.save(path)
    Path("unpickled").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"expected a model without code in .*, got a Lambda layer") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert not Path("unpickled").exists()


def test_lambda_layers_of_keras_functions_are_refused_under_any_name(tmp_path: Path) -> None:
    from keras import layers, ops

    _keras_model(layers.Lambda(ops.exp)).save(tmp_path / "plain.keras")
    with (
        zipfile.ZipFile(tmp_path / "plain.keras") as old,
        zipfile.ZipFile(tmp_path / "dotted.keras", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                told = b'"module": "keras.layers", "class_name": "Lambda"'
                assert told in content
                content = content.replace(told, b'"module": "keras", "class_name": "layers.Lambda"')
            new.writestr(name, content)
    for name in ("plain", "dotted"):
        with pytest.raises(InputError, match="got a Lambda layer"):
            load_model(tmp_path / f"{name}.keras", task="tabular")


def test_keras_configs_that_name_other_code_are_refused_unrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _keras_model().save("good.keras")
    with zipfile.ZipFile("good.keras") as old, zipfile.ZipFile("evil.keras", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                config["config"]["layers"][1] = {
                    "module": "pathlib",
                    "class_name": "Path",
                    "config": "unpickled",
                    "registered_name": None,
                }
                content = json.dumps(config).encode()
            new.writestr(name, content)
    with pytest.raises(InputError, match="expected a whole Keras model") as caught:
        load_model("./evil.keras")
    assert "\n" not in str(caught.value)


def test_shipped_models_load_and_classify(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAIBENCH_MODELS_HOME", str(root / "models"))
    for name in model_names():
        model = load_model(name)
        assert model.card is not None
        shape = tuple(model.card.input_shape)
        if model.task == "text":
            x = model.encode(["a fine film, warm and clever", "dull"])
            assert x.shape == (2, *shape)
            assert [word for word in model.tokens(x)[1] if word] == ["dull"]
        else:
            low, high = model.bounds.tensors(torch.zeros(()))
            x = low + (high - low) * torch.rand(2, *shape)
        assert model.logits(x).shape == (2, len(model.card.class_names))
        gradient = model.loss_gradient(x, torch.tensor([0, 1])).gradient
        assert gradient.shape[:2] == x.shape[:2]
        assert gradient.isfinite().all()
