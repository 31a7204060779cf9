"""Softplus in place of ReLU: where it is put, what its limit is, and that nothing of it stays."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_models import keras_cnn, torch_cnn
from torch import Tensor, nn

from xaibench.classifiers import ExportedClassifier, TorchClassifier
from xaibench.explainers import explainers
from xaibench.manipulation.smooth import smooth_map, softened
from xaibench.types import Classifier


class _Net(nn.Module):
    def __init__(self, rectify: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.rectify = nn.Linear(3, 8), nn.Linear(8, 2), rectify

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.rectify(self.first(x)))


def _classifier(rectify: Any) -> TorchClassifier:
    return TorchClassifier(_Net(rectify), task="tabular", input_shape=(3,))


@pytest.mark.parametrize(
    "rectify",
    [nn.ReLU(), nn.ReLU(inplace=True), F.relu, torch.relu, lambda x: x.relu_()],
    ids=["module", "module in place", "F.relu", "torch.relu", "method in place"],
)
@pytest.mark.parametrize("exported", [False, True])
def test_every_relu_becomes_softplus_and_is_relu_again_after(rectify: Any, exported: bool) -> None:
    model: Any = _classifier(rectify)
    x = torch.rand(4, 3)
    expected, soft = _classifier(F.relu).logits(x), _classifier(lambda z: F.softplus(z, beta=2.0)).logits(x)
    if exported:
        model = ExportedClassifier(model.export(x), task="tabular", input_shape=(3,))
    with softened(2.0):
        torch.testing.assert_close(model.logits(x), soft)
    torch.testing.assert_close(model.logits(x), expected)


def test_softplus_comes_to_relu_as_beta_grows() -> None:
    model, x = _classifier(F.relu), torch.rand(20, 3)
    weight = model.module.second.weight.detach().abs().sum(dim=1).max()  # type: ignore[union-attr, operator]
    for beta in (1.0, 10.0, 100.0, 1000.0):
        with softened(beta):
            soft = model.logits(x)
        missed = float((soft - model.logits(x)).detach().abs().max())
        # Softplus lies above ReLU by at most log(2) / beta.
        assert missed <= float(weight) * math.log(2) / beta + 1e-6


@pytest.mark.parametrize("make", [torch_cnn, keras_cnn])
@pytest.mark.parametrize(
    "method", ["saliency:absolute=false", "input_x_gradient", "integrated_gradients:baseline=zero"]
)
def test_the_leading_map_is_the_method_itself_in_the_limit(make: Any, method: str) -> None:
    model: Classifier = make()
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    true = explainers.create(method)(model, x, 1)
    lead = smooth_map(true.method, model, x, beta=1e5)
    assert lead is not None
    target = torch.ones(3, dtype=torch.int64)
    values, margin, logits = lead(x.clone().requires_grad_(), torch.zeros_like(x), target)
    missed = (values.detach() - true.values).norm() / true.values.norm()
    assert float(missed) < (0.15 if "integrated" in method else 1e-3)
    torch.testing.assert_close(logits.detach(), model.logits(x).detach(), rtol=1e-3, atol=1e-3)
    others = logits.masked_fill(F.one_hot(target, 4).bool(), -torch.inf).amax(dim=1)
    torch.testing.assert_close(margin, logits[:, 1] - others)


def test_the_slope_of_a_smooth_map_is_that_of_finite_differences() -> None:
    model = TorchClassifier(_Net(F.relu).double(), task="tabular", input_shape=(3,))
    lead = smooth_map("saliency", model, torch.rand(1, 3).double(), beta=3.0)
    assert lead is not None
    x, target, zero = torch.rand(1, 3).double(), torch.tensor([1]), torch.zeros(1, 3).double()

    def first(point: Tensor) -> Tensor:
        return lead(point, zero, target)[0][0, 0]

    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(first(point), point)
    for axis in range(3):
        step = torch.zeros_like(x)
        step[0, axis] = 1e-6
        up, down = (first((x + sign * step).requires_grad_()).detach() for sign in (1, -1))
        assert float(slope[0, axis]) == pytest.approx(float(up - down) / 2e-6, rel=1e-4, abs=1e-8)
