"""Bounds against closed forms, and against derivations by plain matrix algebra."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from xaibench.certify import margin_bounds
from xaibench.certify.bounds import NetworkBounds
from xaibench.certify.graph import network_of
from xaibench.certify.regions import Region
from xaibench.classifiers import TorchClassifier
from xaibench.threats import L1, L2, Linf, Threat
from xaibench.types import Bounds

WIDE = Bounds(-10.0, 10.0)
CLOSE = 1e-4  # the tolerance of attacks and the allowance for rounding


def table(module: nn.Module, bounds: Bounds = WIDE) -> TorchClassifier:
    return TorchClassifier(module, task="tabular", bounds=bounds)


def dense(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_linear_models_in_closed_form(norm: str) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(3, 6), torch.randn(3), 0.2 * torch.randn(5, 6)
    unit, y = torch.tensor([0.5, 1.0, 2.0, 1.0, 1.0, 0.2]), torch.tensor([0, 1, 2, 0, 1])
    threat = {"linf": Linf, "l2": L2, "l1": L1}[norm](0.3, scale=tuple(unit.tolist()))
    difference = weight[y][:, None] - weight
    fall = (difference * unit).norm(p={"linf": 1, "l2": 2, "l1": float("inf")}[norm], dim=2)
    expected = (difference @ x[..., None])[..., 0] + bias[y][:, None] - bias - 0.3 * fall
    found = margin_bounds(table(dense(weight, bias)), x, y, threat)
    torch.testing.assert_close(found.float(), expected, atol=CLOSE, rtol=0)
    assert bool((found[torch.arange(5), y] == 0).all())


@pytest.mark.parametrize(
    ("threat", "room", "expected"),
    [
        (Linf(0.5), 0.1, -0.2),
        (L2(0.5), 0.1, -0.2),
        (L1(0.5), 0.1, -0.2),
        # Where the box leaves room, the ball counts: two features may fall, the third is at its limit.
        (L2(0.5), 5.0, -(0.5**0.5)),
        (L1(0.5), 5.0, -0.5),
    ],
)
def test_the_box_stops_the_attacker(threat: Threat, room: float, expected: float) -> None:
    model = table(
        dense(torch.tensor([[1.0, 1.0, 3.0], [0.0, 0.0, 0.0]]), torch.zeros(2)),
        Bounds((-room, -room, 0.0), (9.0, 9.0, 9.0)),
    )
    found = float(margin_bounds(model, torch.zeros(1, 3), torch.tensor([0]), threat)[0, 1])
    assert found <= expected
    assert found == pytest.approx(expected, abs=CLOSE)


def crown_by_hand(parts: list[np.ndarray], x: np.ndarray, eps: float, row: np.ndarray) -> float:
    """The CROWN bound on ``row`` times the logits of a net with one hidden layer of ReLU, one unit after the other."""
    first, first_bias, second, second_bias = parts
    centre, radius = first @ x + first_bias, eps * np.abs(first).sum(axis=1)
    coefficient, constant = np.zeros_like(x), row @ second_bias
    for unit, weight in enumerate(row @ second):
        low, high = centre[unit] - radius[unit], centre[unit] + radius[unit]
        if high <= 0:
            continue
        if low >= 0:
            slope, offset = 1.0, 0.0
        elif weight >= 0:
            slope, offset = float(high > -low), 0.0
        else:
            slope, offset = high / (high - low), -low * high / (high - low)
        coefficient += weight * slope * first[unit]
        constant += weight * (slope * first_bias[unit] + offset)
    return float(coefficient @ x - eps * np.abs(coefficient).sum() + constant)


def exact_least(parts: list[np.ndarray], x: np.ndarray, eps: float, row: np.ndarray) -> float:
    """The least value of ``row`` times the logits: one linear programme for each pattern of active units."""
    first, first_bias, second, second_bias = parts
    least = np.inf
    for pattern in itertools.product((0.0, 1.0), repeat=len(first)):
        active = np.array(pattern)
        sign = (1 - 2 * active)[:, None]  # active units are >= 0, the others <= 0
        cost = (row @ second * active) @ first
        limits = [(value - eps, value + eps) for value in x]
        found = linprog(cost, A_ub=sign * first, b_ub=-sign[:, 0] * first_bias, bounds=limits)
        if found.status == 0:
            least = min(least, found.fun + (row @ second * active) @ first_bias + row @ second_bias)
    return float(least)


def test_one_hidden_layer_by_matrix_algebra_and_by_brute_force() -> None:
    gaps = []
    for seed in range(3):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
        x, y, eps = torch.randn(2, 3), torch.tensor([0, 2]), 0.2
        parts = [value.detach().double().numpy() for value in module.parameters()]
        margins, loose = (margin_bounds(table(module), x, y, Linf(eps), method=m) for m in ("crown", "interval"))
        for sample, label in enumerate(y.tolist()):
            for other in {0, 1, 2} - {label}:
                row = np.eye(3)[label] - np.eye(3)[other]
                by_hand = crown_by_hand(parts, x[sample].double().numpy(), eps, row)
                exact = exact_least(parts, x[sample].double().numpy(), eps, row)
                found, interval = float(margins[sample, other]), float(loose[sample, other])
                assert found >= by_hand - CLOSE
                assert found == pytest.approx(max(by_hand, interval), abs=CLOSE)
                assert found <= exact
                gaps.append((exact - found, exact - interval))
    crown, interval = (sum(values) for values in zip(*gaps, strict=True))
    assert crown < interval / 2


def test_linear_bounds_see_that_branches_cancel() -> None:
    class Cancelling(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            return torch.relu(y - self.inner(x) + 2.0)[:, :2] * torch.tensor([1.0, 0.0])

    torch.manual_seed(0)
    x, y = torch.randn(3, 4), torch.zeros(3, dtype=torch.int64)
    model = table(Cancelling())
    assert margin_bounds(model, x, y, Linf(0.5))[:, 1].tolist() == pytest.approx([2.0] * 3, abs=CLOSE)


def test_bounds_hold_for_the_rounding_of_float32() -> None:
    # In exact arithmetic the logits are (1, 0); summed up in float32 the 1 drowns.
    class Drowning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, 2))

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.weight + torch.tensor([1.0, 0.0]) + 1e8) - 1e8

    model = table(Drowning())
    x = torch.zeros(1, 2)
    assert model.logits(x).tolist() == [[0.0, 0.0]]
    network = network_of(model.export(x.expand(2, -1)))
    assert network(x).tolist() == [[1.0, 0.0]]
    bounds = NetworkBounds(network, Region.of(x, Linf(0.1), WIDE), linear=True, tight=True)
    low, high = bounds.interval(len(network.nodes) - 1)
    assert float(low[0, 0]) <= 0.0 <= float(high[0, 0])
    row = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    assert float(bounds.least(len(network.nodes) - 1, row, torch.tensor([0]), torch.tensor([0]))) <= 0.0


def test_larger_balls_have_lower_margins() -> None:
    torch.manual_seed(0)
    model = table(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)))
    x = torch.randn(6, 4)
    margins = [margin_bounds(model, x, model.predict(x), L2(eps)) for eps in (0.01, 0.1, 0.3)]
    assert bool((margins[0] >= margins[1]).all() and (margins[1] >= margins[2]).all())
    assert bool((margins[0] > margins[2] + 0.01).any())
