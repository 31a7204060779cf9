"""Class activation maps against closed forms, naive loops and Captum, on grids of channels and of tokens."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import inputs_for, table_mlp, token_net, torch_cnn
from torch import Tensor, nn
from twins import twins

from xaibench.architectures.vision import VisionTransformer
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import explain
from xaibench.explainers.grid import GridLayer
from xaibench.explainers.target import TargetLogit
from xaibench.types import Capability

MAPS = ("eigen_cam", "grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "score_cam")


def _pooled() -> TorchClassifier:
    """Convolutions that keep the size, global average, linear head."""
    torch.manual_seed(1)
    layers = OrderedDict(
        conv=nn.Conv2d(1, 5, 3, padding=1),
        relu=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        head=nn.Linear(5, 3),
    )
    return TorchClassifier(nn.Sequential(layers), input_shape=(1, 6, 6))


def _vit() -> TorchClassifier:
    torch.manual_seed(2)
    module = VisionTransformer(input_shape=(1, 8, 12), classes=3, patch=4, dim=8, depth=2, heads=2).build()
    with torch.no_grad():
        for value in module.parameters():
            value.normal_(std=0.4)
    return TorchClassifier(module, input_shape=(1, 8, 12))


def _enlarged(maps: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(maps[:, None], x.shape[2:], mode="bilinear").expand_as(x)


@pytest.mark.parametrize("method", ["hires_cam", "grad_cam"])
def test_maps_before_a_linear_head_add_up_to_the_logit_less_its_bias(method: str) -> None:
    model = _pooled()
    x = torch.rand(4, 1, 6, 6)
    target = torch.tensor([0, 1, 2, 1])
    found = explain(model, x, target, method=method, relu=False)
    head: Any = model.module.head
    expected = model.logits(x).gather(1, target[:, None]).squeeze(1) - head.bias[target]
    torch.testing.assert_close(found.values.sum(dim=(1, 2, 3)), expected.detach())
    # The mean over places is linear, so each place counts by the head's weights alone.
    places = torch.einsum("nk,nkhw->nhw", head.weight[target].detach(), model.activations(x, "relu").detach()) / 36
    torch.testing.assert_close(found.values[:, 0], places)
    assert found.trust.notes == ("layer 'relu', 6 x 6 places",)


def test_maps_equal_naive_loops_over_samples_channels_and_places() -> None:
    model = torch_cnn()
    x, layer = inputs_for(model, 3), "1"
    target = torch.tensor([2, 0, 3])
    activations = model.activations(x, layer).detach()
    gradient = model.activation_gradient(x, layer, target).gradient
    maps = {name: torch.zeros(3, 6, 6) for name in ("grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam")}
    for n in range(3):
        for k in range(6):
            a, g = activations[n, k], gradient[n, k]
            alpha = torch.zeros(6, 6)
            for i in range(6):
                for j in range(6):
                    denominator = 2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3
                    alpha[i, j] = g[i, j] ** 2 / denominator if denominator != 0 else 0
                    maps["hires_cam"][n, i, j] += g[i, j] * a[i, j]
                    maps["layer_cam"][n, i, j] += max(float(g[i, j]), 0.0) * a[i, j]
            maps["grad_cam"][n] += g.mean() * a
            maps["grad_cam_plus_plus"][n] += (alpha * g.clamp_min(0)).sum() * a
    for name, expected in maps.items():
        assert float(expected.abs().max()) > 1e-3
        for relu in (False, True):
            found = explain(model, x, target, method=name, layer=layer, relu=relu).values
            wanted = _enlarged(expected.clamp_min(0) if relu else expected, x)
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_captum_agrees_on_grad_cam() -> None:
    from captum import attr

    model = _pooled()
    x = torch.rand(5, 1, 6, 6)
    target = model.predict(x)
    module: Any = model.module
    reference = attr.LayerGradCam(module, module.relu).attribute(x, target, relu_attributions=True)
    found = explain(model, x, method="grad_cam").values
    torch.testing.assert_close(found, reference.detach(), rtol=1e-4, atol=1e-6)


def test_eigen_cam_is_the_best_map_of_rank_one_and_knows_no_class() -> None:
    model = torch_cnn()
    x = inputs_for(model, 3)
    found = explain(model, x, method="eigen_cam", layer="0", relu=False)
    activations = model.activations(x, "0").detach().double().flatten(2)
    for n in range(3):
        values, vectors = torch.linalg.eigh(activations[n] @ activations[n].T)
        expected = (activations[n].T @ vectors[:, -1]).view(6, 6)
        expected = expected * expected.sum().sign()
        assert float(values[-1]) == pytest.approx(float(expected.square().sum()))
        torch.testing.assert_close(
            found.values[n : n + 1], _enlarged(expected[None].float(), x[:1]), rtol=1e-3, atol=1e-5
        )
    assert torch.equal(explain(model, x, 3, method="eigen_cam", layer="0", relu=False).values, found.values)
    assert "the same for every class" in found.trust.notes


def test_score_cam_equals_a_loop_over_channels() -> None:
    model = torch_cnn()
    x, layer = inputs_for(model, 2), "1"
    target = torch.tensor([1, 2])
    activations = model.activations(x, layer).detach()
    expected = torch.zeros(2, 6, 6)
    baseline = torch.full_like(x, 0.3)
    for n in range(2):
        gains = []
        for k in range(6):
            mask = _enlarged(activations[n, k][None], x[:1])
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            seen = baseline[:1] + mask * (x[n : n + 1] - baseline[:1])
            gains.append((model.logits(seen) - model.logits(baseline[:1]))[0, target[n]].detach())
        weights = torch.stack(gains).softmax(dim=0)
        expected[n] = (weights[:, None, None] * activations[n]).sum(dim=0)
    found = explain(model, x, target, method="score_cam", layer=layer, baseline=baseline)
    torch.testing.assert_close(found.values, _enlarged(expected, x), rtol=1e-4, atol=1e-5)
    assert found.cost.backward == 0


def test_tokens_become_a_grid_without_the_class_token() -> None:
    model = _vit()
    x = torch.rand(3, 1, 8, 12)
    target = torch.tensor([0, 1, 2])
    found = explain(model, x, target, method="hires_cam")
    # The class token alone leaves the last block; what enters it goes through a norm, at which lengths do not count.
    assert found.trust.notes == ("layer 'blocks.1.norm1', 2 x 3 places",)
    activations = model.activations(x, "blocks.1.norm1").detach()
    gradient = model.activation_gradient(x, "blocks.1.norm1", target).gradient
    places = (activations * gradient).sum(dim=2)[:, 1:].reshape(3, 2, 3)
    assert float(places.abs().max()) > 1e-4
    before = explain(model, x, target, method="hires_cam", layer="blocks.0").values
    assert float(before.abs().max()) < 1e-3 * float(places.abs().max())
    torch.testing.assert_close(found.values, _enlarged(places, x))


class _Beside(nn.Module):
    """A convolution, then a second one and a way around it that is defined last."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.around = nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.first(x))
        return self.head(torch.relu(self.second(x) + self.around(x)).mean(dim=(2, 3)))


def test_the_layer_is_one_that_everything_goes_through() -> None:
    torch.manual_seed(0)
    model = TorchClassifier(_Beside(), input_shape=(1, 7, 7))
    grid = GridLayer(TargetLogit(_Named(), model, torch.rand(1, 1, 7, 7), None), "grad_cam", "auto")  # type: ignore[arg-type]
    assert grid.layer == "first"


class _Named:
    name = "grad_cam"


@pytest.mark.parametrize("method", MAPS)
def test_torch_and_keras_agree(method: str) -> None:
    pair = twins("cnn")
    ours = explain(pair.torch, pair.x, pair.y, method=method, layer="5", trust="quick").values
    theirs = explain(pair.keras, pair.x, pair.y, method=method, layer="conv2", trust="quick").values
    assert float(ours.abs().max()) > 1e-4
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


class _Functional(nn.Module):
    """The first of `twins`, whose last ReLU is a function."""

    def __init__(self, layers: nn.Sequential, act: Any) -> None:
        super().__init__()
        self.start, self.last, self.head = layers[:4], layers[4], layers[8]
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.last(self.start(x))).flatten(1))


@pytest.mark.parametrize("method", MAPS)
def test_a_relu_that_is_no_layer_is_as_good_as_one(method: str) -> None:
    pair = twins("cnn")
    module: Any = pair.torch.module
    interface: Any = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "input_shape": (3, 10, 8)}
    ours = explain(
        TorchClassifier(_Functional(module, torch.relu), **interface), pair.x, pair.y, method=method, trust="quick"
    )
    theirs = explain(pair.keras, pair.x, pair.y, method=method, layer="conv2", trust="quick")
    assert ours.trust.notes[0] == "layer 'last' after ReLU, 3 x 2 places"
    assert float(ours.values.abs().max()) > 1e-4
    torch.testing.assert_close(ours.values, theirs.values, rtol=1e-5, atol=1e-5)
    leaky = TorchClassifier(_Functional(module, F.leaky_relu), **interface)
    assert explain(leaky, pair.x, pair.y, method=method, trust="quick").trust.notes[0].startswith("layer 'last', 3")


def test_what_maps_cannot_do_is_one_clear_line() -> None:
    model = torch_cnn()
    x = inputs_for(model, 2)
    with pytest.raises(InputError, match=r"unknown layer '11'.*known: 0, 1, 2"):
        explain(model, x, method="grad_cam", layer="11")
    with pytest.raises(InputError, match=r"output is a grid of places, got '7' with \(n, 4\)"):
        explain(model, x, method="grad_cam", layer="7")
    with pytest.raises(UnsupportedError, match="needs images, got a model of task 'tabular'"):
        explain(table_mlp(), torch.rand(2, 5) + 1, method="score_cam")
    with pytest.raises(UnsupportedError, match="needs images, got a model of task 'text'"):
        explain(token_net(), torch.ones(2, 7, dtype=torch.long), method="grad_cam")
    flat = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), input_shape=(1, 6, 6))
    with pytest.raises(UnsupportedError, match="grad_cam needs a layer whose output is a grid of places"):
        explain(flat, torch.rand(1, 1, 6, 6), method="grad_cam")
    program = torch.export.export(_pooled().module.eval(), (torch.rand(2, 1, 6, 6),))
    from xaibench.classifiers import ExportedClassifier

    with pytest.raises(UnsupportedError, match="needs activations of the model: an exported program is one graph"):
        explain(ExportedClassifier(program), torch.rand(2, 1, 6, 6), method="grad_cam")


def _grid_of(model: Any, x: Tensor, layer: str = "auto") -> GridLayer:
    return GridLayer(TargetLogit(_Named(), model, x, 0, needs=()), "grad_cam", layer)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stride", "size", "places"),
    [
        ((1, 1), (8, 8), (8, 8)),
        ((2, 1), (8, 8), (4, 8)),
        ((1, 2), (8, 8), (8, 4)),
        ((3, 1), (8, 8), None),
        ((1, 3), (8, 8), None),
        ((4, 4), (4, 8), (1, 2)),
        ((8, 8), (8, 8), None),
    ],
)
def test_a_grid_has_places_and_about_the_proportions_of_the_image(
    stride: tuple[int, int], size: tuple[int, int], places: tuple[int, int] | None
) -> None:
    torch.manual_seed(3)
    layers = (nn.Conv2d(1, 3, 1, stride=stride), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    model = TorchClassifier(nn.Sequential(*layers), input_shape=(1, *size))
    x = torch.rand(2, 1, *size)
    if places is None:
        with pytest.raises(InputError, match="a layer whose output is a grid of places, got '0'"):
            _grid_of(model, x, "0")
    else:
        assert _grid_of(model, x, "0").activations(torch.arange(2)).shape == (2, 3, *places)


class _Tokens(nn.Module):
    """Patches as tokens, after ``extra`` ones of another kind, and a head on all of them."""

    def __init__(self, patch: int, size: tuple[int, int], extra: int) -> None:
        super().__init__()
        self.patches, self.extra = nn.Conv2d(1, 4, patch, stride=patch), extra
        self.tokens = nn.Identity()
        count = (size[0] // patch) * (size[1] // patch) + extra
        self.head = nn.Linear(4 * count, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        first = tokens.mean(dim=1, keepdim=True).expand(-1, self.extra, -1)
        return self.head(self.tokens(torch.cat([first, tokens], dim=1)).flatten(1))


@pytest.mark.parametrize(
    ("patch", "size", "extra", "places"),
    [
        (4, (4, 8), 0, (1, 2)),
        (4, (8, 4), 1, (2, 1)),
        (2, (4, 8), 0, (2, 4)),
        (2, (4, 8), 1, (2, 4)),
        (2, (4, 8), 2, None),
        (8, (8, 8), 0, None),
        (8, (8, 8), 1, None),
    ],
)
def test_tokens_are_a_grid_where_they_fill_one(
    patch: int, size: tuple[int, int], extra: int, places: tuple[int, int] | None
) -> None:
    torch.manual_seed(4)
    model = TorchClassifier(_Tokens(patch, size, extra), input_shape=(1, *size))
    x = torch.rand(3, 1, *size)
    if places is None:
        with pytest.raises(InputError, match="a layer whose output is a grid of places, got 'tokens'"):
            _grid_of(model, x, "tokens")
        return
    found = _grid_of(model, x, "tokens").activations(torch.arange(3))
    assert found.shape == (3, 4, *places)
    torch.testing.assert_close(found, model.activations(x, "patches").detach())


def test_without_gradients_the_last_grid_is_taken() -> None:
    model = _pooled()

    class Blind:
        capabilities = model.capabilities - {Capability.GRADIENTS}

        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def activation_gradient(self, *rest: Any) -> Any:
            raise UnsupportedError("there are no gradients")

    assert _grid_of(Blind(), torch.rand(1, 1, 6, 6)).layer == "relu"


def test_a_layer_without_influence_is_passed_over() -> None:
    class Forgetful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen, self.unseen = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.seen(x))
            return self.head((x + 0 * self.unseen(x)).mean(dim=(2, 3)))

    torch.manual_seed(5)
    model = TorchClassifier(Forgetful(), input_shape=(1, 6, 6))
    assert _grid_of(model, torch.rand(1, 1, 6, 6)).layer == "seen"


def test_places_keep_their_order_and_size_when_enlarged() -> None:
    model = _pooled()
    grid = _grid_of(model, torch.rand(1, 1, 6, 6), "relu")
    maps = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(grid.enlarge(maps), F.interpolate(maps[:, None], (6, 6), mode="bilinear")[:, 0])
