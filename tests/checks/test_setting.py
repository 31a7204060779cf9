"""Checks of the question itself, on models for which their figures are known."""

from __future__ import annotations

import pytest
import torch
from cases import case
from small_models import inputs_for, keras_cnn, linear, token_net, torch_cnn
from torch import Tensor, nn

from xaibench.checks import GradientsInForward, Units
from xaibench.classifiers import TorchClassifier
from xaibench.errors import UnsupportedError
from xaibench.threats import L0, L2, Linf
from xaibench.types import Bounds


def _wide(x: Tensor, threat: Linf | L2) -> object:
    model = linear(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.zeros(2), Bounds(0.0, 255.0))
    return Units()(case(model, x, threat))


def test_a_radius_in_other_units_is_noticed() -> None:
    x = torch.tensor([[10.0, 200.0], [250.0, 3.0]])
    fits = _wide(x, Linf(8.0))
    assert fits.status == "pass"  # type: ignore[attr-defined]
    assert fits.figure == pytest.approx(8 / 255)  # type: ignore[attr-defined]
    small = _wide(x, Linf(8 / 255))
    assert small.status == "warning"  # type: ignore[attr-defined]
    assert "radius" in small.advice  # type: ignore[attr-defined]
    diagonal = _wide(x, L2(10.0))
    assert diagonal.figure == pytest.approx(10 / (255 * 2**0.5))  # type: ignore[attr-defined]


def test_inputs_in_other_units_are_noticed() -> None:
    found = _wide(torch.tensor([[0.1, 0.9], [0.4, 1.0]]), Linf(8.0))
    assert found.status == "warning"  # type: ignore[attr-defined]
    assert found.figure == pytest.approx(0.9 / 255)  # type: ignore[attr-defined]
    assert "inputs" in found.advice  # type: ignore[attr-defined]


def test_what_has_no_units_is_skipped() -> None:
    with pytest.raises(UnsupportedError, match="l0 counts"):
        Units()(case(torch_cnn(), inputs_for(torch_cnn(), 3), L0(2)))


class _Purified(nn.Module):
    """Moves its input down the gradient of its own confidence before it answers."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, self.net = steps, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.steps):
            with torch.enable_grad():
                point = x.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self.net(point).logsumexp(dim=1).sum(), point)
            x = x - 0.1 * slope
        return self.net(x)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_backward_passes_in_an_answer_are_counted(steps: int) -> None:
    torch.manual_seed(0)
    model = TorchClassifier(_Purified(steps), task="tabular", input_shape=(4,))
    found = GradientsInForward()(case(model, torch.rand(6, 4), Linf(0.1)))
    assert found.figure == steps
    assert found.status == ("warning" if steps else "pass")


def test_other_frameworks_cannot_be_watched() -> None:
    with pytest.raises(UnsupportedError, match="runs in keras"):
        GradientsInForward()(case(keras_cnn(), inputs_for(keras_cnn(), 3), Linf(0.1)))
    assert token_net().framework == "torch"
