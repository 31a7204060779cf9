"""Integrals along paths against closed forms, naive loops, finite differences, and completeness on shipped models."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import inputs_for, table_mlp, torch_cnn
from torch import Tensor, nn
from twins import twins

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError
from xaibench.explainers import explain
from xaibench.explainers.path import _Intervals, _worst
from xaibench.zoo import load_model

MODELS = sorted(path.parent.name for path in (Path(__file__).resolve().parents[2] / "models").glob("*/config.json"))
RULES = ("gauss_legendre", "riemann_left", "riemann_middle", "riemann_right", "riemann_trapezoid")


class _Logits(nn.Module):
    """A function of features and its negative."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.unused = function, nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        value = self.function(x)[:, None]
        return torch.cat([value, -value], dim=1)


def _model(function: Any) -> TorchClassifier:
    return TorchClassifier(_Logits(function), task="tabular", input_shape=(2,))


def _pairs(n: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x, start = torch.rand(2, n, 2, dtype=torch.float64, generator=generator)
    return x, start


def test_a_product_is_shared_by_the_mean_of_the_other_factor() -> None:
    x, start = _pairs()
    found = explain(_model(lambda x: x[:, 0] * x[:, 1]), x, 0, baseline=start, steps=1).values
    torch.testing.assert_close(found, (x - start) * (x + start).flip(1) / 2)


def test_a_maximum_goes_to_whichever_leads_along_the_way() -> None:
    x, start = torch.tensor([[0.9, 0.5]]).double(), torch.tensor([[0.1, 0.3]]).double()
    # The second leads until 0.1 + 0.8 t = 0.3 + 0.2 t, at a third of the way.
    model = _model(lambda x: x.amax(dim=1))
    found = explain(model, x, 0, baseline=start, tolerance=1e-4, max_steps=4096)
    torch.testing.assert_close(found.values, torch.tensor([[0.8 * 2 / 3, 0.2 / 3]]).double(), rtol=1e-3, atol=0)
    # The kink alone is looked at closely.
    assert found.cost.backward < 32 + 8 * 12


@pytest.mark.parametrize("rule", RULES)
def test_rules_equal_naive_sums(rule: str) -> None:
    model = table_mlp()
    x, start = inputs_for(model, 2), inputs_for(model, 2, seed=1)
    found = explain(model, x, 1, baseline=start, steps=8, max_steps=8, quadrature=rule).values
    if rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(4)
        at = [(piece + (float(node) + 1) / 2) / 2 for piece in range(2) for node in nodes]
        share = [float(weight) / 4 for _ in range(2) for weight in weights]
    elif rule == "riemann_trapezoid":
        at, share = [0, 0.25, 0.5, 0.75, 1], [0.125, 0.25, 0.25, 0.25, 0.125]
    else:
        offset = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[rule]
        at, share = [(step + offset) / 8 for step in range(8)], [1 / 8] * 8
    expected = torch.zeros_like(x)
    for place, weight in zip(at, share, strict=True):
        point = (start + place * (x - start)).requires_grad_()
        expected += weight * torch.autograd.grad(model.logits(point)[:, 1].sum(), point)[0] * (x - start)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_gaps_that_cancel_do_not_pass_for_an_integral() -> None:
    # Over whole turns of a sine the gaps of intervals have both signs, and the change of the whole is small.
    model = _model(lambda x: (4 * math.pi * x[:, 0]).sin() + 0.3 * x[:, 0] + (8 * math.pi * x[:, 1]).sin() * x[:, 0])
    x, start = torch.tensor([[1.0, 1.0]]).double(), torch.tensor([[0.0, 0.0]]).double()
    reference = explain(model, x, 0, baseline=start, steps=2000, max_steps=2000).values
    found = explain(model, x, 0, baseline=start, steps=8, tolerance=0.02, max_steps=4096).values
    torch.testing.assert_close(found, reference, rtol=0.02, atol=0.02)


def test_refinement_stops_at_the_gradients_allowed() -> None:
    model = torch_cnn()
    found = explain(model, inputs_for(model, 3), steps=8, max_steps=40, tolerance=0.0)
    assert found.cost.backward <= 3 * 40
    assert found.cost.backward > 3 * 32
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) > 0


def test_several_baselines_give_the_mean_of_each() -> None:
    model = table_mlp()
    x = inputs_for(model, 4)
    params: dict[str, Any] = {"steps": 16, "max_steps": 16}
    both = explain(model, x, 1, baseline=("min", "max"), **params)
    low, high = (explain(model, x, 1, baseline=name, **params) for name in ("min", "max"))
    torch.testing.assert_close(both.values, (low.values + high.values) / 2)
    assert both.baseline is None
    assert both.trust.notes == ("mean over 2 baselines",)
    given = torch.stack([inputs_for(model, 4, seed=1), inputs_for(model, 4, seed=2)])
    mean = sum(explain(model, x, 1, baseline=each, **params).values for each in given) / 2
    torch.testing.assert_close(explain(model, x, 1, baseline=given, **params).values, mean)
    with pytest.raises(InputError, match="expected at least one baseline, got none"):
        explain(model, x, baseline=())


def test_gradients_agree_with_finite_differences() -> None:
    model = torch_cnn().double()  # type: ignore[attr-defined]
    x = inputs_for(model, 2).double()
    gradient = explain(model, x, 1, method="saliency", absolute=False).values
    places = torch.eye(x[0].numel(), dtype=torch.float64).view(-1, *x.shape[1:])
    for n in range(2):
        high, low = (model.logits(x[n] + sign * 1e-6 * places)[:, 1] for sign in (1, -1))
        torch.testing.assert_close(gradient[n].flatten(), (high - low) / 2e-6, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["cnn", "mlp", "attention", "text"])
def test_torch_and_keras_agree(name: str) -> None:
    pair = twins(name)
    for method in ("saliency", "input_x_gradient", "integrated_gradients"):
        ours, theirs = (
            explain(model, pair.x, pair.y, method=method, trust="quick") for model in (pair.torch, pair.keras)
        )
        assert float(ours.values.abs().max()) > 1e-4
        torch.testing.assert_close(ours.values, theirs.values, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_shipped_models_are_explained_completely_from_random_baselines(name: str) -> None:
    model = load_model(name)
    generator = torch.Generator().manual_seed(7)
    assert model.input_shape is not None
    shape = tuple(int(size) for size in model.input_shape if size is not None)
    if model.task == "text":
        x, start = torch.randint(2, 5000, (2, 2, *shape), generator=generator)
    else:
        low, high = model.bounds.tensors(torch.zeros(2, *shape))
        x, start = low + (high - low) * torch.rand(2, 2, *shape, generator=generator)
    found = explain(model, x, 1, baseline=start, max_steps=512, trust="quick")
    assert found.completeness_gap is not None
    change = (model.logits(x) - model.logits(start))[:, 1].detach()
    missed = (found.values.double().flatten(1).sum(dim=1) - change).abs()
    # Where parts for and against nearly cancel, what is left is measured by the parts.
    parts = found.values.flatten(1).abs().sum(dim=1)
    assert bool((missed <= torch.maximum(0.011 * change.abs(), 2e-3 * parts)).all())
    gap = missed / change.abs().clamp_min(1e-3)
    torch.testing.assert_close(found.completeness_gap.double(), gap.double(), rtol=0.05, atol=2e-3)


def test_blur_ends_at_the_image_and_starts_at_its_gaussian_mean() -> None:
    from scipy.ndimage import gaussian_filter

    model = torch_cnn()
    x = inputs_for(model, 2)
    found = explain(model, x, method="blur_integrated_gradients", max_blur=0.25, steps=64)
    assert found.baseline is not None
    expected = gaussian_filter(x.double().numpy(), (0, 0, 2, 2), mode="reflect", truncate=12)
    np.testing.assert_allclose(found.baseline.numpy(), expected, atol=2e-3)
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) <= 0.01
    flat = explain(model, x, method="blur_integrated_gradients", max_blur=20.0).baseline
    assert flat is not None
    torch.testing.assert_close(flat, x.mean(dim=(2, 3), keepdim=True).expand_as(x))


def test_blur_of_a_linear_model_takes_what_the_blur_takes() -> None:
    torch.manual_seed(0)
    model = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), input_shape=(1, 6, 6))
    x = torch.rand(3, 1, 6, 6)
    found = explain(model, x, 1, method="blur_integrated_gradients")
    module: Any = model.module
    weight = module[1].weight[1].detach().view(1, 6, 6)
    assert found.baseline is not None
    torch.testing.assert_close(found.values, (x - found.baseline) * weight, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("gaps", "room", "halved"),
    [
        ([[0.5, -0.2, 0.3], [0.01, 0.0]], [2, 5], [0, 2]),
        ([[0.5, -0.2, 0.3], [0.01, 0.0]], [9, 5], [0, 1, 2]),
        ([[0.5, -0.2, 0.3], [-0.3, 0.02]], [1, 1], [0, 3]),
        ([[0.3, -0.3], [0.2, -0.2]], [9, 9], [0, 1]),
        ([[0.5, 0.02], [0.5, 0.03]], [9, 9], [0, 2, 3]),
        ([[0.5, 0.02], [0.5, 0.03]], [0, 1], [2]),
    ],
)
def test_intervals_that_miss_most_are_halved_within_the_room(
    gaps: list[list[float]], room: list[int], halved: list[int]
) -> None:
    path = torch.tensor([which for which, each in enumerate(gaps) for _ in each])
    gap = torch.tensor([value for each in gaps for value in each], dtype=torch.float64)
    level = torch.arange(len(gap)).double()
    # What an interval adds up to, in two elements, misses its change of the logit by the gap.
    pieces = _Intervals(path, level, level, level, level + 1, torch.stack([gap + 3, -2 + 0 * gap], dim=1))
    torch.testing.assert_close(pieces.gap, gap)
    found = _worst(pieces, torch.tensor([0.1, 0.1]).double(), torch.tensor(room))
    assert sorted(found.tolist()) == halved


@pytest.mark.parametrize("size", [(12, 6), (6, 12)])
def test_blur_goes_by_the_longer_side(size: tuple[int, int]) -> None:
    from scipy.ndimage import gaussian_filter

    torch.manual_seed(0)
    model = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(72, 2)), input_shape=(1, *size))
    x = torch.rand(2, 1, *size)
    found = explain(model, x, 1, method="blur_integrated_gradients", max_blur=0.125).baseline
    assert found is not None
    expected = gaussian_filter(x.double().numpy(), (0, 0, 1.5, 1.5), mode="reflect", truncate=12)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_the_gap_of_several_baselines_is_that_of_their_mean() -> None:
    model = table_mlp()
    x = inputs_for(model, 4)
    found = explain(model, x, 1, baseline=("min", "max", "zero"), steps=2, max_steps=2)
    ends = [explain(model, x, 1, baseline=name).baseline for name in ("min", "max", "zero")]
    starts = torch.stack([model.logits(end)[:, 1] for end in ends if end is not None]).double().detach()
    change = model.logits(x)[:, 1].double().detach() - starts.mean(dim=0)
    missed = (found.values.double().sum(dim=1) - change).abs() / change.abs().clamp_min(1e-3)
    assert found.completeness_gap is not None
    torch.testing.assert_close(found.completeness_gap.double(), missed, rtol=1e-3, atol=1e-4)
