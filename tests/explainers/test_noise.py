"""Gradients averaged over noise and over baselines, against closed forms, Captum and their own error bars."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import inputs_for, linear, table_mlp, token_net, torch_cnn
from torch import Tensor, nn
from twins import twins

from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers import explain
from xaibench.types import Bounds

MATRIX = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0], [0.7, 0.2, -0.4]], dtype=torch.float64)
SLOPE = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
BOX = Bounds((0.0, -1.0, 0.0), (1.0, 1.0, 4.0))
SPAN = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


class _Quadratic(nn.Module):
    """Logits x' A x + b' x and its negative: the gradient (A + A') x + b is linear."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(MATRIX.clone())

    def forward(self, x: Tensor) -> Tensor:
        value = ((x @ self.matrix) * x).sum(dim=1, keepdim=True) + x @ SLOPE[:, None]
        return torch.cat([value, -value], dim=1)


def _quadratic() -> TorchClassifier:
    return TorchClassifier(_Quadratic(), task="tabular", input_shape=(3,), bounds=BOX)


def _points(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_noise_in_pairs_cancels_where_the_gradient_is_linear() -> None:
    x = _points(4)
    found = explain(_quadratic(), x, 0, method="smoothgrad", samples=4, noise=0.3)
    torch.testing.assert_close(found.values, x @ (MATRIX + MATRIX.T) + SLOPE)
    assert found.stderr is not None
    assert float(found.stderr.max()) < 1e-6
    assert (found.cost.forward, found.cost.backward) == (16, 16)


def _expected_squares(x: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of the gradient's elements under the noise."""
    hessian = MATRIX + MATRIX.T
    return x @ hessian + SLOPE, (hessian.square() * (noise * SPAN).square()).sum(dim=1)


def _z(values: Tensor, expected: Tensor, stderr: Tensor | None) -> Tensor:
    assert stderr is not None
    return ((values - expected) / stderr).flatten()


@pytest.mark.parametrize("seed", range(3))
def test_squares_and_variances_have_the_expected_values_within_their_errors(seed: int) -> None:
    x, noise = _points(50, seed), 0.2
    mean, variance = _expected_squares(x, noise)
    squares = explain(_quadratic(), x, 0, method="smoothgrad", squared=True, samples=400, noise=noise, seed=seed)
    spread = explain(_quadratic(), x, 0, method="vargrad", samples=400, noise=noise, seed=seed)
    for found, expected in ((squares, mean.square() + variance), (spread, variance.expand(50, 3))):
        z = _z(found.values, expected, found.stderr)
        assert abs(float(z.mean())) < 0.4
        assert 0.8 < float(z.std()) < 1.25


def test_errors_of_the_mean_are_those_between_seeds() -> None:
    model = torch_cnn()
    x = inputs_for(model, 2)
    runs = [explain(model, x, 1, method="smoothgrad", samples=32, seed=seed, trust="quick") for seed in range(40)]
    between = torch.stack([run.values for run in runs]).std(dim=0)
    within = torch.stack([run.stderr for run in runs if run.stderr is not None]).square().mean(dim=0).sqrt()
    assert float((between / within).median()) == pytest.approx(1, abs=0.1)


def test_a_naive_loop_with_the_same_noise_gives_the_same_mean() -> None:
    model = table_mlp()
    x, pairs = inputs_for(model, 3), 5
    found = explain(model, x, 2, method="smoothgrad", samples=2 * pairs, noise=0.1, seed=4)
    from xaibench.rng import SampleRng, content_ids

    low, high = model.bounds.tensors(x)
    total = torch.zeros_like(x)
    for n in range(3):
        for pair in range(pairs):
            noise = SampleRng(content_ids(x[n : n + 1]), 4, "smoothgrad noise").normal((5,), pair)
            for sign in (1, -1):
                point = (x[n : n + 1] + sign * 0.1 * (high - low) * noise).requires_grad_()
                total[n] += torch.autograd.grad(model.logits(point)[0, 2], point)[0][0] / (2 * pairs)
    torch.testing.assert_close(found.values, total, rtol=1e-4, atol=1e-6)


def test_captum_agrees_in_the_limit() -> None:
    from captum import attr

    model = table_mlp()
    x = inputs_for(model, 3)
    low, high = model.bounds.tensors(x)
    torch.manual_seed(0)

    class Unit(nn.Module):
        """The same model on features scaled to [0, 1], for Captum's noise has one width for all."""

        def forward(self, unit: Tensor) -> Tensor:
            return model.logits(low + unit * (high - low))

    tunnel = attr.NoiseTunnel(attr.Saliency(Unit()))
    reference = tunnel.attribute(
        (x - low) / (high - low), nt_type="smoothgrad", nt_samples=4000, stdevs=0.1, target=1, abs=False
    )
    found = explain(model, x, 1, method="smoothgrad", samples=4000).values
    torch.testing.assert_close(found * (high - low), reference.float(), rtol=0.02, atol=0.01)
    background = inputs_for(model, 16, seed=3)
    shap = attr.GradientShap(Unit())
    reference = shap.attribute(
        (x - low) / (high - low), (background - low) / (high - low), n_samples=4000, stdevs=0.0, target=1
    )
    expected = explain(model, x, 1, method="expected_gradients", background=background, samples=4000)
    torch.testing.assert_close(expected.values, reference.float(), rtol=0.05, atol=0.02)


def test_expected_gradients_of_a_linear_model_are_exact_with_all_baselines_used() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    background = torch.rand(8, 3)
    x = torch.rand(4, 3)
    found = explain(
        linear(weight, torch.zeros(2)), x, 1, method="expected_gradients", background=background, samples=16
    )
    torch.testing.assert_close(found.values, weight[1] * (x - background.mean(dim=0)))
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < 1e-4
    assert found.baseline is None
    assert found.trust.notes == ("8 given background samples",)


def test_expected_gradients_approach_the_mean_of_integrated_gradients() -> None:
    model = torch_cnn()
    x, background = inputs_for(model, 2), inputs_for(model, 6, seed=9)
    found = explain(model, x, 0, method="expected_gradients", background=background, samples=2 * 6 * 100)
    integrated = explain(model, x, 0, baseline=background[:, None], steps=64)
    assert integrated.trust.notes == ("mean over 6 baselines",)
    size = integrated.values.abs().max()
    torch.testing.assert_close(found.values / size, integrated.values / size, rtol=0, atol=0.05)
    z = (found.values - integrated.values) / (found.stderr if found.stderr is not None else 0)
    assert float(z.abs().max()) < 5
    assert found.completeness_gap is not None
    assert float(found.completeness_gap.max()) < found.trust.tolerance


def test_text_gets_errors_of_its_tokens_sums() -> None:
    model = token_net()
    tokens = inputs_for(model, 2)
    runs = [
        explain(model, tokens, 1, method="smoothgrad", samples=16, noise=0.3, seed=s, trust="quick") for s in range(60)
    ]
    between = torch.stack([run.values for run in runs]).std(dim=0)
    within = torch.stack([run.stderr for run in runs if run.stderr is not None]).square().mean(dim=0).sqrt()
    assert between.shape == tokens.shape
    assert float((between / within).median()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("method", ["smoothgrad", "vargrad", "expected_gradients"])
@pytest.mark.parametrize("name", ["cnn", "mlp"])
def test_torch_and_keras_agree(method: str, name: str) -> None:
    pair = twins(name)
    ours, theirs = (
        explain(model, pair.x, pair.y, method=method, samples=8, trust="quick") for model in (pair.torch, pair.keras)
    )
    size = float(ours.values.abs().max())
    assert size > 1e-5
    torch.testing.assert_close(ours.values / size, theirs.values / size, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("smoothgrad", {"samples": 2}, "expected `samples` as an even number of at least 4, got 2"),
        ("vargrad", {"samples": 7}, "got 7"),
        ("smoothgrad", {"noise": 0.0}, "expected `noise` > 0, got 0.0"),
        ("expected_gradients", {"background": torch.zeros(3, 2)}, r"expected a background as \(m, 5\), got \(3, 2\)"),
    ],
)
def test_bad_parameters_are_one_clear_line(method: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        explain(table_mlp(), inputs_for(table_mlp(), 2), method=method, **params)


def test_noise_as_a_share_of_an_endless_range_is_refused() -> None:
    model = TorchClassifier(nn.Linear(2, 2), task="tabular", bounds=(-1e30, float("inf")), input_shape=(2,))
    with pytest.raises(UnsupportedError, match="needs finite bounds"):
        explain(model, torch.zeros(1, 2), 0, method="smoothgrad")
