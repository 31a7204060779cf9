"""Explanations of layers and neurons: closed forms, completeness, naive loops, Captum, and torch beside Keras."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import attentive_image_net, inputs_for, keras_cnn, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import explain, explain_layer, layer_explainers
from xaibench.types import Classifier

METHODS = ("layer_activation", "layer_conductance", "layer_gradient_x_activation", "layer_integrated_gradients")
NEURONS = ("neuron_gradient:unit=[2]", "neuron_integrated_gradients:unit=[2]")
LAYERS = {"torch": (torch_cnn, "2"), "keras": (keras_cnn, "conv2d"), "table": (table_mlp, "1")}
every_model = pytest.mark.parametrize("name", LAYERS)


def _case(name: str, n: int = 5) -> tuple[Classifier, Tensor, str]:
    make, layer = LAYERS[name]
    model = make()
    if name == "keras":
        layer = next(found for found in model.layers if found.startswith("conv2d"))
    return model, inputs_for(model, n), layer


class _Product(nn.Module):
    """Logits u v and its negative, of hidden units u = 2 x1 + x2 and v = x2 - x3."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 2, bias=False, dtype=torch.float64)
        self.times = _Times()
        with torch.no_grad():
            self.hidden.weight.copy_(torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.times(self.hidden(x))


class _Times(nn.Module):
    def forward(self, units: Tensor) -> Tensor:
        value = units.prod(dim=1, keepdim=True)
        return torch.cat([value, -value], dim=1)


def _product() -> tuple[TorchClassifier, Tensor]:
    model = TorchClassifier(_Product(), task="tabular", input_shape=(3,))
    return model, torch.tensor([[0.5, 0.2, 0.9], [0.1, 0.8, 0.3]], dtype=torch.float64)


def test_all_methods_are_tried() -> None:
    assert {*METHODS, *(method.partition(":")[0] for method in NEURONS)} == set(layer_explainers.names())


def test_a_product_of_two_units_in_closed_form() -> None:
    model, x = _product()
    u, v = 2 * x[:, 0] + x[:, 1], x[:, 1] - x[:, 2]

    def found(method: str, **params: Any) -> Tensor:
        return explain_layer(model, x, 0, layer="hidden", method=method, **params).values.double()

    outputs = explain_layer(model, x, layer="hidden", method="layer_activation").values.double()
    torch.testing.assert_close(outputs, torch.stack([u, v], dim=1), rtol=1e-5, atol=1e-6)
    both = (u * v)[:, None].expand(2, 2)
    torch.testing.assert_close(found("layer_gradient_x_activation"), both, rtol=1e-5, atol=1e-6)
    # Along a straight line from zero both factors have grown as far, and each gets half.
    torch.testing.assert_close(
        found("layer_integrated_gradients", baseline="zero", steps=2), both / 2, atol=1e-6, rtol=0
    )
    torch.testing.assert_close(found("layer_conductance", baseline="zero", steps=1), both / 2, atol=1e-6, rtol=0)
    # From u0 v0 on, the integral of v du is (u - u0) (v + v0) / 2.
    start = torch.tensor([0.3, 0.1, 0.4], dtype=torch.float64)
    u0, v0 = 2 * start[0] + start[1], start[1] - start[2]
    expected = torch.stack([(u - u0) * (v + v0) / 2, (v - v0) * (u + u0) / 2], dim=1)
    for method in ("layer_integrated_gradients", "layer_conductance"):
        torch.testing.assert_close(found(method, baseline=start, steps=3), expected, atol=1e-6, rtol=0)


def test_neurons_of_a_linear_layer_in_closed_form() -> None:
    model, x = _product()
    rows: Any = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, -1.0]])
    start = torch.tensor([0.3, 0.1, 0.4], dtype=torch.float64)
    for unit in (0, 1):
        slope = explain_layer(model, x, layer="hidden", method="neuron_gradient", unit=(unit,))
        torch.testing.assert_close(slope.values, rows[unit].expand(2, 3))
        assert slope.target is None
        shared = explain_layer(
            model, x, layer="hidden", method="neuron_integrated_gradients", unit=(unit,), steps=1, baseline=start
        )
        torch.testing.assert_close(shared.values, ((x - start) * rows[unit]).float())
        assert shared.completeness_gap is not None
        assert float(shared.completeness_gap.max()) < 1e-6


@every_model
@pytest.mark.parametrize("method", ["layer_integrated_gradients", "layer_conductance"])
def test_layers_that_cut_the_net_get_the_whole_change_of_the_logit(name: str, method: str) -> None:
    model, x, layer = _case(name)
    baseline = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(3)) * x
    found = explain_layer(model, x, layer=layer, method=method, steps=400, baseline=baseline)
    target = model.predict(x)
    assert found.target is not None
    assert torch.equal(found.target, target)
    change = (model.logits(x) - model.logits(baseline)).gather(1, target[:, None]).squeeze(1).detach()
    torch.testing.assert_close(found.values.flatten(1).sum(1), change, rtol=0.02, atol=5e-3)
    assert found.values.shape == model.activations(x, layer).shape
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 0.05


def test_the_gap_shows_what_goes_around_a_layer() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + 5 * x[:, :2]

    torch.manual_seed(0)
    model = TorchClassifier(Around(), task="tabular", input_shape=(3,))
    x = torch.rand(4, 3)
    for method in ("layer_integrated_gradients", "layer_conductance"):
        found = explain_layer(model, x, 0, layer="inner", method=method, baseline="zero", steps=2)
        weight: Any = model.module.get_submodule("inner").weight
        torch.testing.assert_close(found.values[:, 0], (x @ weight[0]).detach(), rtol=1e-4, atol=1e-6)
        assert found.completeness_gap is not None
        assert float(found.completeness_gap.min()) > 0.5


@pytest.mark.parametrize("layer", ["0", "2"])
def test_captum_agrees(layer: str) -> None:
    from captum import attr

    model = torch_cnn()
    x = inputs_for(model, 4)
    target, baseline = model.predict(x), inputs_for(model, 4, seed=9)
    module: Any = model._engine.module  # type: ignore[attr-defined]
    module.eval()
    scaled, start = (((part - 0.4) / 0.2).requires_grad_() for part in (x, baseline))
    inner = module.get_submodule(layer)

    conductance = attr.LayerConductance(module, inner)
    # Its usual nodes leave out both ends of the line; these do not.
    ahead = conductance.attribute(scaled, start, target, n_steps=7, method="riemann_trapezoid")
    back = conductance.attribute(start, scaled, target, n_steps=7, method="riemann_trapezoid")
    ours = explain_layer(model, x, layer=layer, method="layer_conductance", baseline=baseline, steps=7)
    # Theirs takes the gradient at the start of each piece, so both ways together make the mean of its ends.
    torch.testing.assert_close(ours.values, ((ahead - back) / 2).detach(), rtol=1e-3, atol=1e-5)

    theirs = attr.LayerIntegratedGradients(module, inner).attribute(
        scaled, start, target, n_steps=9, method="gausslegendre"
    )
    ours = explain_layer(model, x, layer=layer, method="layer_integrated_gradients", baseline=baseline, steps=9)
    torch.testing.assert_close(ours.values, theirs.detach(), rtol=1e-3, atol=1e-5)

    ours = explain_layer(model, x, layer=layer, method="layer_gradient_x_activation")
    theirs = attr.LayerGradientXActivation(module, inner).attribute(scaled, target)
    torch.testing.assert_close(ours.values, theirs.detach(), rtol=1e-3, atol=1e-5)

    slopes = attr.NeuronGradient(module, inner).attribute(scaled, (2, 1, 1)) / 0.2
    ours = explain_layer(model, x, layer=layer, method="neuron_gradient", unit=(2, 1, 1))
    torch.testing.assert_close(ours.values, slopes.detach(), rtol=1e-3, atol=1e-5)
    theirs = attr.NeuronIntegratedGradients(module, inner).attribute(
        scaled, (2, 1, 1), start, n_steps=9, method="gausslegendre"
    )
    ours = explain_layer(
        model, x, layer=layer, method="neuron_integrated_gradients", unit=(2, 1, 1), baseline=baseline, steps=9
    )
    torch.testing.assert_close(ours.values, theirs.detach(), rtol=1e-3, atol=1e-5)


@every_model
@pytest.mark.parametrize("method", [*METHODS, *NEURONS])
def test_results_do_not_depend_on_batches_and_nothing_changes(name: str, method: str) -> None:
    model, x, layer = _case(name)
    before, digest = x.clone(), model.digest
    found = explain_layer(model, x, layer=layer, method=method)
    one = explain_layer(model, x, layer=layer, method=method, memory=1)
    torch.testing.assert_close(one.values, found.values, rtol=1e-3, atol=1e-5)
    assert one.cost.forward == found.cost.forward
    assert found.values.dtype == torch.float32
    assert not found.values.requires_grad
    assert bool((found.values != 0).any())
    expected = x if method.startswith("neuron") else model.activations(x, layer)
    assert found.values.shape == expected.shape
    assert torch.equal(x, before)
    assert model.digest == digest


def test_an_open_index_means_the_sum_over_a_channel() -> None:
    model, x, layer = _case("torch")
    whole = explain_layer(model, x, layer=layer, method="neuron_gradient", unit=(2,)).values
    parts = [
        explain_layer(model, x, layer=layer, method="neuron_gradient", unit=(2, row, column)).values
        for row in range(3)
        for column in range(3)
    ]
    torch.testing.assert_close(whole, torch.stack(parts).sum(0))


def test_text_has_layers_but_no_line_between_its_inputs() -> None:
    model = token_net()
    x = inputs_for(model, 4)
    at_words = explain_layer(model, x, layer="embedding", method="layer_integrated_gradients", steps=16)
    usual = explain(model, x, steps=16, max_steps=16)
    torch.testing.assert_close(at_words.values.sum(-1), usual.values, rtol=1e-4, atol=1e-6)
    product = explain_layer(model, x, layer="embedding", method="layer_gradient_x_activation").values.sum(-1)
    torch.testing.assert_close(product, explain(model, x, method="input_x_gradient").values, rtol=1e-4, atol=1e-6)
    for method in ("layer_conductance", *NEURONS):
        with pytest.raises(UnsupportedError, match="needs inputs that can be moved a little: token ids cannot"):
            explain_layer(model, x, layer="hidden", method=method)


@pytest.mark.parametrize("method", [*METHODS, *NEURONS])
def test_unknown_layers_are_refused_with_those_that_exist(method: str) -> None:
    model, x, _ = _case("table")
    with pytest.raises(InputError, match="unknown layer 'hidden'; known: 0, 1, 2"):
        explain_layer(model, x, layer="hidden", method=method)


def test_what_does_not_fit_is_one_clear_line() -> None:
    model, x, layer = _case("torch")
    unit = {"layer": layer, "method": "neuron_gradient"}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({**unit, "unit": (9,)}, r"expected `unit` as an index into \(6, 3, 3\) of layer '2', got \(9,\)"),
        ({**unit, "unit": ()}, r"of layer '2', got \(\)"),
        ({**unit, "unit": (0, 0, 0, 0)}, "expected `unit` as an index"),
        ({**unit}, "expected all parameters of layer explainer neuron_gradient"),
        ({**unit, "unit": (0,), "targets": 1}, "expected no targets, for neuron_gradient does not look at the logits"),
        ({"layer": layer, "method": "layer_conductance", "steps": 0}, "expected `steps` >= 1, got 0"),
        ({"layer": layer, "method": "layer_conductance", "targets": 9}, r"expected targets in 0\.\.3, got 9"),
        ({"layer": layer, "method": "conductance"}, "unknown layer explainer 'conductance'; did you mean"),
    )
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            explain_layer(model, x, **options)
    with pytest.raises(UnsupportedError, match="layer 'again' runs 2 times in one pass"):
        explain_layer(_twice(), torch.rand(2, 3), layer="again")


def _twice() -> Classifier:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.again = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.again(self.again(x))

    return TorchClassifier(Twice(), task="tabular", input_shape=(3,))


def test_layers_inside_transformers_and_linear_models_work() -> None:
    model = attentive_image_net()
    x = inputs_for(model, 2)
    found = explain_layer(model, x, layer="blocks.1", method="layer_conductance", steps=200)
    assert found.values.shape == (2, 5, 8)
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 0.02
    weight = torch.tensor([[1.0, -2.0], [0.5, 1.0]])
    with pytest.raises(InputError, match="unknown layer 'x'; known: none"):
        explain_layer(linear(weight, torch.zeros(2)), torch.rand(1, 2), layer="x")


def test_activations_belong_to_no_class() -> None:
    model, x = _product()
    assert explain_layer(model, x, layer="hidden", method="layer_activation").target is None
    with pytest.raises(InputError, match="expected no targets, for layer_activation does not look at the logits"):
        explain_layer(model, x, 1, layer="hidden", method="layer_activation")
