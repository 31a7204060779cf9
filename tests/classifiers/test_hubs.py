"""Image classifiers by their names on a hub, with packages that stand in for the real ones."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from xaibench import load_model
from xaibench.errors import InputError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the hubs were asked for."""
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

    class Classifier(nn.Module):
        config = SimpleNamespace(id2label={1: "dog", 0: "cat", 2: "owl"}, num_channels=3)

        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: Any) -> Any:
            return SimpleNamespace(logits=self.inner(x))

    def from_pretrained(name: str, **options: Any) -> nn.Module:
        asked.append({"name": name, **options})
        return Classifier()

    processor = SimpleNamespace(size={"height": 8, "width": 8}, do_normalize=True, image_mean=MEAN, image_std=STD)
    transformers: Any = ModuleType("transformers")
    transformers.AutoModelForImageClassification = SimpleNamespace(from_pretrained=from_pretrained)
    transformers.AutoImageProcessor = SimpleNamespace(from_pretrained=lambda name, **_: processor)
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    return asked


@pytest.mark.parametrize("name", ["timm:resnet18.a1_in1k", "hf:owner/name"])
def test_a_name_on_a_hub_is_a_classifier_in_input_units(asked: list[dict[str, Any]], name: str) -> None:
    model = load_model(name)
    x = torch.rand(4, 3, 8, 8)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    assert torch.allclose(model.logits(x), network()((x - mean) / std), atol=1e-5)
    assert model.input_shape == (3, 8, 8)
    assert asked[0]["name"] == name.partition(":")[2]


def test_nothing_of_a_repository_is_run(asked: list[dict[str, Any]]) -> None:
    model = load_model("hf:owner/name")
    assert model.class_names == ("cat", "dog", "owl")
    assert asked == [{"name": "owner/name", "use_safetensors": True, "trust_remote_code": False}]


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
