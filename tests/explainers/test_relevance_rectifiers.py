"""Guided backpropagation and deconvolution: by hand, against Captum, and refused where they would be the gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_models import inputs_for, table_mlp
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.errors import UnsupportedError
from xaibench.explainers import explain

METHODS = ("guided_backprop", "deconvnet")


@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Input Tensor")
@pytest.mark.parametrize("method", METHODS)
def test_captum_agrees(method: str) -> None:
    from captum import attr

    torch.manual_seed(0)
    layers = (nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 2), nn.ReLU(), nn.Flatten())
    module = nn.Sequential(*layers, nn.Linear(20, 4)).eval()
    x = torch.rand(5, 2, 8, 8)
    found = explain(TorchClassifier(module, input_shape=(2, 8, 8)), x, 2, method=method, trust="quick")
    reference = {"guided_backprop": attr.GuidedBackprop, "deconvnet": attr.Deconvolution}[method](module)
    torch.testing.assert_close(found.values, reference.attribute(x.clone().requires_grad_(), 2).detach())
    assert found.trust.uncovered == ()


class _Functional(nn.Module):
    """Functional and reused ReLU, which hooks on modules miss."""

    def __init__(self, smooth: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.smooth = smooth

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.b(F.relu(self.a(x))))
        return self.c(F.gelu(y) if self.smooth else y)


@pytest.mark.parametrize("method", METHODS)
def test_functional_relu_by_hand(method: str) -> None:
    module = _Functional(smooth=False).double()
    x = torch.rand(4, 5, dtype=torch.float64)
    found = explain(TorchClassifier(module, task="tabular", input_shape=(5,)), x, 0, method=method, trust="quick")
    before = module.a(x)
    middle = module.b(before.relu())
    back = module.c.weight[0].expand(4, 6)
    for value, layer in ((middle, module.b), (before, module.a)):
        back = back.clamp_min(0)
        back = (back * (value > 0) if method == "guided_backprop" else back) @ layer.weight
    torch.testing.assert_close(found.values, back.detach())


@pytest.mark.parametrize("method", METHODS)
def test_other_nonlinear_functions_are_reported_and_their_absence_refused(method: str) -> None:
    model = TorchClassifier(_Functional(smooth=True), task="tabular", input_shape=(5,))
    found = explain(model, torch.rand(2, 5), method=method, trust="quick")
    assert found.trust.uncovered == ("the operation 'gelu'",)
    smooth = table_mlp()
    with pytest.raises(UnsupportedError, match=f"^{method}: the model has no ReLU, so that it would be the gradient$"):
        explain(smooth, inputs_for(smooth, 2), method=method)
