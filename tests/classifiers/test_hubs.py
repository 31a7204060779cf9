"""Image classifiers by their names on a hub: real networks of `transformers`, and a package that stands in for timm."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from pretend_hub import write_checkpoint
from safetensors.torch import save_file
from torch import nn

from xaibench import load_model
from xaibench.architectures import architectures
from xaibench.classifiers.hubs import HubNetwork, hub_package, read_repository
from xaibench.errors import InputError
from xaibench.registry import Spec

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def network(**_: Any) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What timm was asked for."""
    asked: list[dict[str, Any]] = []

    def create_model(name: str, **options: Any) -> nn.Module:
        asked.append({"name": name, **options})
        if name == "none":
            raise RuntimeError("Unknown model (none)\nmore")
        return network()

    timm: Any = ModuleType("timm")
    timm.create_model = create_model
    timm.data = SimpleNamespace(
        resolve_model_data_config=lambda _: {"mean": MEAN, "std": STD, "input_size": (3, 8, 8), "crop_pct": 0.9}
    )
    monkeypatch.setitem(sys.modules, "timm", timm)
    return asked


def test_a_name_in_timm_is_a_classifier_in_input_units(asked: list[dict[str, Any]]) -> None:
    model = load_model("timm:resnet18.a1_in1k")
    x = torch.rand(4, 3, 8, 8)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    assert torch.allclose(model.logits(x), network()((x - mean) / std), atol=1e-5)
    assert model.input_shape == (3, 8, 8)
    assert asked == [{"name": "resnet18.a1_in1k", "pretrained": True}]


def test_a_checkpoint_of_transformers_is_a_classifier_in_input_units(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_checkpoint(tmp_path, names=["cat", "dog", "owl"])
    model = load_model(f"hf:{tmp_path}")
    there = transformers.AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.rand(4, 3, 16, 16)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    with torch.no_grad():
        assert torch.allclose(model.logits(x), there((x - mean) / std).logits, atol=1e-5)
    assert model.input_shape == (3, 16, 16)
    assert model.class_names == ("cat", "dog", "owl")


def repository(folder: Path, **changes: Any) -> Path:
    """As timm writes it."""
    told = {
        "architecture": "tiny",
        "num_classes": 3,
        "model_args": {"global_pool": "avg", "num_classes": 3},
        "pretrained_cfg": {"input_size": [3, 8, 8], "mean": MEAN, "std": STD, "label_names": ["cat", "dog", "owl"]},
    }
    (folder / "config.json").write_text(json.dumps(told | changes), encoding="utf-8")
    save_file({key: value + 1 for key, value in network().state_dict().items()}, folder / "model.safetensors")
    return folder


def test_a_repository_of_timm_is_built_without_a_download(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    found = read_repository(repository(tmp_path))
    known = {"input_size": (3, 8, 8), "num_classes": 3}
    assert asked == [
        {"name": "tiny", "pretrained": False, "pretrained_cfg": known, "global_pool": "avg", "num_classes": 3}
    ]
    assert found.options["class_names"] == ("cat", "dog", "owl")
    assert (found.options["mean"], found.options["std"]) == (MEAN, STD)
    assert torch.equal(found.network.state_dict()["1.bias"], network().state_dict()["1.bias"] + 1)
    built: Any = architectures.create(
        Spec(found.architecture, {**found.params, "input_shape": [1, 4, 4], "classes": 3})
    )
    assert built.build()(torch.rand(2, 1, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "'checkpoint_path'"),
        ({"model_args": {"pretrained": True}}, "'pretrained'"),
        ({"model_args": {"norm_layer": {"module": "os"}}}, "numbers and words"),
        ({"model_args": ["x"]}, "arguments of the network by name"),
        ({"architecture": "hf-hub:evil/x"}, "name of a network of timm"),
        ({"architecture": "none"}, "Unknown model"),
        ({"pretrained_cfg": {}}, "expected input_size"),
        ({"pretrained_cfg": {"input_size": [3, 8, 8], "mean": MEAN, "std": [0, 0, 0]}}, "deviations above 0"),
    ],
)
def test_a_repository_of_timm_loads_nothing_else(
    asked: list[dict[str, Any]], changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        read_repository(repository(tmp_path, **changes))
    assert all(not each["pretrained"] for each in asked)


def test_grey_and_small_pictures_are_fitted() -> None:
    inner = nn.Identity()
    fitted = HubNetwork(inner, channels=3, size=(8, 8), mean=MEAN, std=STD)
    x = torch.rand(2, 1, 4, 4)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    plain = torch.nn.functional.interpolate((x.expand(-1, 3, -1, -1) - mean) / std, (8, 8), mode="bilinear")
    assert torch.allclose(fitted(x), plain, atol=1e-6)
    same = torch.rand(2, 3, 8, 8)
    assert torch.equal(HubNetwork(inner, channels=3, size=(8, 8))(same), same)
    assert HubNetwork(inner, channels=3, size=(2, 2))(same).shape == (2, 3, 2, 2)


def test_what_a_hub_lacks_is_said_in_one_line(asked: list[dict[str, Any]]) -> None:
    with pytest.raises(InputError, match=r"expected an image classifier at timm:none, got: Unknown model \(none\)$"):
        load_model("timm:none")
    with pytest.raises(InputError, match="expected a name after hf:"):
        load_model("hf:")
    with pytest.raises(InputError, match="no `architecture`"):
        load_model("timm:resnet18", architecture="lenet")


@pytest.mark.parametrize(("name", "extra"), [("timm:resnet18", "timm"), ("hf:owner/name", "hub")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str, extra: str) -> None:
    for package in ("timm", "transformers"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"pip install 'xaibench\[{extra}\]'"):
        load_model(name)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (RuntimeError("operator torchvision::nms does not exist"), "expected timm to load, got: operator"),
        (
            ModuleNotFoundError("No module named 'torchvision'", name="torchvision"),
            "got: No module named",
        ),
    ],
)
def test_a_package_that_does_not_load_is_said(
    failure: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> ModuleType:
        raise failure

    monkeypatch.setattr("xaibench.classifiers.hubs.importlib.import_module", fail)
    with pytest.raises(InputError, match=message):
        hub_package("timm")


@pytest.mark.parametrize(
    ("processing", "message"),
    [
        ({"image_std": [0.2, 0.0, 0.2]}, r"deviations above 0 of pixels, got 0\.5 and 0\.0"),
        ({"image_std": [-0.2] * 3}, "deviations above 0"),
        ({"image_mean": [float("nan")] * 3}, "expected finite means"),
        ({"image_mean": [0.5] * 2}, "for 3 channels, got 2"),
        ({"size": {"height": -3, "width": 16}}, "got -3 x 16"),
        ({"repo_path": "/etc", "class_info_file": "passwd"}, "got 'class_info_file'"),
    ],
)
def test_pixels_that_cannot_be_prepared_are_refused(processing: dict[str, Any], message: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match=message):
        read_repository(write_checkpoint(tmp_path, **processing))


@pytest.mark.parametrize(("cropped", "side"), [(False, 16), (True, 12)])
def test_pictures_are_of_the_size_that_the_network_was_trained_on(cropped: bool, side: int, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    told: dict[str, Any] = {"do_center_crop": cropped, "crop_size": {"height": 12, "width": 12}}
    found = read_repository(write_checkpoint(tmp_path, image_processor_type="EfficientNetImageProcessor", **told))
    assert found.options["input_shape"] == (3, side, side)
    assert found.params["network_shape"] == [3, side, side]


def test_a_configuration_cannot_change_what_comes_out(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    path = write_checkpoint(tmp_path) / "config.json"
    told = {"return_dict": False, "output_hidden_states": True, "torchscript": True}
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | told), encoding="utf-8")
    network = HubNetwork(read_repository(tmp_path).network)
    assert network(torch.rand(2, 3, 16, 16)).shape == (2, 10)


def test_a_refusal_names_no_folder_of_the_host(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="in the repository") as caught:
        read_repository(write_checkpoint(tmp_path, image_processor_type="../../x"))
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, "3"])
def test_a_broken_configuration_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"expected a config\.json"):
        read_repository(tmp_path)
