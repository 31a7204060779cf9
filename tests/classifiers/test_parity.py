"""The same weights in torch and Keras answer every question alike."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from twins import TWINS, Twins, twins

from xaibench.classifiers.base import ModelClassifier
from xaibench.concepts import tcav
from xaibench.explainers import explain_layer, layer_explainers
from xaibench.types import Capability

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(params=TWINS)
def pair(request: pytest.FixtureRequest) -> Twins:
    return twins(request.param)


def test_logits_and_predictions_agree(pair: Twins) -> None:
    a, b = pair.torch.logits(pair.x), pair.keras.logits(pair.x)
    torch.testing.assert_close(a, b, **CLOSE)
    assert torch.equal(pair.torch.predict(pair.x), pair.keras.predict(pair.x))
    assert a.std() > 1e-3, "logits that hardly vary prove nothing"


@pytest.mark.parametrize("loss", ["ce", "margin", "dlr", "logit"])
def test_loss_gradients_agree(pair: Twins, loss: str) -> None:
    a, b = pair.torch.loss_gradient(pair.x, pair.y, loss), pair.keras.loss_gradient(pair.x, pair.y, loss)
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, **CLOSE)
    assert a.gradient.shape == pair.torch.embed(pair.x).shape
    assert a.gradient.abs().max() > 1e-4


def test_gradients_of_logits_agree_with_the_fused_ones(pair: Twins) -> None:
    for model in (pair.torch, pair.keras):
        point = model.embed(pair.x).detach().clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model.logits(pair.x, embeddings=point), pair.y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, point)
        torch.testing.assert_close(gradient, model.loss_gradient(pair.x, pair.y).gradient, **CLOSE)


def test_layer_activations_and_their_gradients_agree(pair: Twins) -> None:
    for ours, theirs in pair.layers:
        a, b = pair.torch.activations(pair.x, ours), pair.keras.activations(pair.x, theirs)
        torch.testing.assert_close(a, b, **CLOSE)
        mine = pair.torch.activation_gradient(pair.x, ours, pair.y)
        other = pair.keras.activation_gradient(pair.x, theirs, pair.y)
        for one, two in zip(mine, other, strict=True):
            torch.testing.assert_close(one, two, **CLOSE)
        assert mine.gradient.abs().max() > 1e-4


def test_replaced_activations_give_the_same_logits_and_gradients(pair: Twins) -> None:
    name, other = pair.layers[0]
    noise = 1 + 0.1 * torch.randn(pair.torch.activations(pair.x, name).shape)
    results = []
    for model, layer in ((pair.torch, name), (pair.keras, other)):
        activations = (model.activations(pair.x, layer).detach() * noise).requires_grad_()
        logits = model.logits_from(pair.x, layer, activations)
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), activations)
        results.append((logits.detach(), gradient))
        unchanged = model.logits_from(pair.x, layer, model.activations(pair.x, layer))
        torch.testing.assert_close(unchanged, model.logits(pair.x), **CLOSE)
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)
    assert not torch.allclose(results[0][0], pair.torch.logits(pair.x), atol=1e-4)


def test_activations_differentiate_back_to_the_input() -> None:
    pair = twins("cnn")
    gradients = []
    for model, layer in ((pair.torch, "3"), (pair.keras, "pool")):
        x = pair.x.clone().requires_grad_()
        gradients.append(torch.autograd.grad(model.activations(x, layer).square().sum(), x)[0])
    torch.testing.assert_close(*gradients, **CLOSE)


@pytest.mark.parametrize("method", layer_explainers.names())
def test_explanations_of_layers_agree(method: str) -> None:
    for name in ("cnn", "mlp", "attention"):
        pair = twins(name)
        options = {"unit": (2,)} if method.startswith("neuron") else {}
        values = [
            explain_layer(model, pair.x, layer=layer, method=method, **options).values
            for model, layer in zip((pair.torch, pair.keras), pair.layers[0], strict=True)
        ]
        torch.testing.assert_close(*values, rtol=1e-4, atol=1e-5)


def test_concepts_agree() -> None:
    pair = twins("mlp")
    x = torch.randn(120, 6, generator=torch.Generator().manual_seed(2)).clamp(-3, 3)
    one, other = (
        tcav(model, (x[:40] + 0.5).clamp(-3, 3), x[:9], 1, layer, random_inputs=x[40:], runs=4).scores[0]
        for model, layer in zip((pair.torch, pair.keras), pair.layers[0], strict=True)
    )
    assert one.scores == pytest.approx(other.scores)
    assert one.random_scores == pytest.approx(other.random_scores)


def test_attention_agrees_and_equals_its_definition() -> None:
    pair = twins("attention")
    ((name, a),), ((other, b),) = pair.torch.attention(pair.x).items(), pair.keras.attention(pair.x).items()
    assert (name, other) == ("body.mix", "mix")
    torch.testing.assert_close(a, b, **CLOSE)
    mix: Any = pair.torch.module.get_submodule(name)
    q, k, _ = (pair.x.squeeze(1) @ mix.in_proj_weight.T + mix.in_proj_bias).chunk(3, dim=-1)
    q, k = (value.reshape(3, 5, 2, 3).transpose(1, 2) for value in (q, k))
    torch.testing.assert_close(a, (q @ k.transpose(-1, -2) / 3**0.5).softmax(-1).detach(), **CLOSE)


def test_gradients_of_attention_agree_and_equal_finite_differences() -> None:
    pair = twins("attention")
    ((name, a),) = pair.torch.attention_gradient(pair.x, pair.y).items()
    ((_, b),) = pair.keras.attention_gradient(pair.x, pair.y).items()
    for mine, other in zip(a, b, strict=True):
        torch.testing.assert_close(mine, other, **CLOSE)
    torch.testing.assert_close(a.weights, pair.torch.attention(pair.x)[name], **CLOSE)
    # The same net by hand, in float64, from any weights whatever.
    body: Any = copy.deepcopy(pair.torch.module.get_submodule("body")).double()
    rows = pair.x.squeeze(1).double()
    value = (rows @ body.mix.in_proj_weight[12:].T + body.mix.in_proj_bias[12:]).reshape(3, 5, 2, 3).transpose(1, 2)

    def logit(weights: torch.Tensor) -> torch.Tensor:
        mixed = body.mix.out_proj((weights @ value).transpose(1, 2).reshape(3, 5, 6))
        return body.head(body.norm(rows + mixed).mean(1)).gather(1, pair.y[:, None]).squeeze(1)

    expected = torch.zeros_like(a.gradient, dtype=torch.float64)
    with torch.no_grad():
        for place in torch.cartesian_prod(*map(torch.arange, (2, 5, 5))).tolist():
            step = torch.zeros(2, 5, 5, dtype=torch.float64)
            step[tuple(place)] = 1e-5
            ahead, behind = (logit(a.weights.double() + sign * step) for sign in (1, -1))
            expected[(slice(None), *place)] = (ahead - behind) / 2e-5
    torch.testing.assert_close(a.gradient, expected.float(), **CLOSE)
    assert expected.abs().max() > 1e-2


def test_attention_weights_are_differentiable() -> None:
    pair = twins("attention")
    gradients = []
    for model in (pair.torch, pair.keras):
        x = pair.x.clone().requires_grad_()
        (weights,) = model.attention(x).values()
        gradients.append(torch.autograd.grad(weights.square().sum(), x)[0])
    torch.testing.assert_close(*gradients, **CLOSE)
    assert gradients[0].abs().max() > 1e-5


def test_masks_survive_replaced_embeddings() -> None:
    pair = twins("text")
    for model in (pair.torch, pair.keras):
        gradient = model.loss_gradient(pair.x, pair.y).gradient
        assert (gradient[1:, 6:] == 0).all(), "padding has no influence"
        assert (gradient[0] != 0).any(dim=1).all()


def test_capabilities_differ_only_in_the_live_module(pair: Twins) -> None:
    models: tuple[ModelClassifier, ...] = (pair.torch, pair.keras)
    a, b = (model.capabilities for model in models)
    assert a - b == {Capability.TORCH_MODULE}
    assert {Capability.LOGITS, Capability.GRADIENTS, Capability.ACTIVATIONS, Capability.DETERMINISTIC} <= b
    assert [model.num_classes for model in models] == [models[0].logits(pair.x).shape[1]] * 2
