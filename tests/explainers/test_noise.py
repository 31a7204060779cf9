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
from xaibench.explainers.baselines import background_inputs
from xaibench.rng import SampleRng, content_ids
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


def _gradients(points: Tensor) -> Tensor:
    """Of logit 2 of `table_mlp` at points (..., 5)."""
    model = table_mlp()
    flat = points.reshape(-1, 5).clone().requires_grad_()
    return torch.autograd.grad(model.logits(flat)[:, 2].sum(), flat)[0].view_as(points).double()


def _noisy(method: str, x: Tensor, draws: int, noise: float, seed: int) -> Tensor:
    """(n, draws, 5): the noise of a method, in inputs' units."""
    low, high = table_mlp().bounds.tensors(x)
    rng = SampleRng(content_ids(x), seed, f"{method} noise")
    return torch.stack([noise * (high - low) * rng.normal((5,), draw) for draw in range(draws)], dim=1)


def test_vargrad_is_the_variance_of_its_draws_and_errs_as_the_mean_of_squares() -> None:
    x, count = inputs_for(table_mlp(), 3), 6
    found = explain(table_mlp(), x, 2, method="vargrad", samples=count, noise=0.2, seed=3)
    gradients = _gradients(x[:, None] + _noisy("vargrad", x, count, 0.2, 3))
    torch.testing.assert_close(found.values, gradients.var(dim=1).float(), rtol=1e-3, atol=1e-6)
    squares = (gradients - gradients.mean(dim=1, keepdim=True)).square() * count / (count - 1)
    assert found.stderr is not None
    torch.testing.assert_close(found.stderr, (squares.std(dim=1) / count**0.5).float(), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("squared", [False, True])
def test_smoothgrad_errs_as_the_mean_of_its_pairs(squared: bool) -> None:
    x, pairs = inputs_for(table_mlp(), 3), 4
    found = explain(table_mlp(), x, 2, method="smoothgrad", samples=2 * pairs, noise=0.2, squared=squared, seed=3)
    noise = _noisy("smoothgrad", x, pairs, 0.2, 3)
    sides = torch.stack([_gradients(x[:, None] + sign * noise) for sign in (1, -1)])
    means = (sides.square() if squared else sides).mean(dim=0)
    torch.testing.assert_close(found.values, means.mean(dim=1).float(), rtol=1e-3, atol=1e-6)
    assert found.stderr is not None
    torch.testing.assert_close(found.stderr, (means.std(dim=1) / pairs**0.5).float(), rtol=1e-3, atol=1e-6)


def test_expected_gradients_take_a_pair_of_places_on_the_line_from_each_baseline() -> None:
    model, pairs = table_mlp(), 5
    x, background = inputs_for(model, 3), inputs_for(model, 5, seed=4)
    found = explain(model, x, 2, method="expected_gradients", background=background, samples=2 * pairs, seed=3)
    given, _ = background_inputs(background, model, x, count=pairs, seed=3)
    rounds = SampleRng(content_ids(x), 3, "expected_gradients rounds").uniform((pairs,)).argsort(dim=1)
    drawn = given[rounds]
    assert [sorted(each.tolist()) for each in drawn] == [sorted(background.tolist())] * 3
    rng = SampleRng(content_ids(x), 3, "expected_gradients order")
    order = rng.uniform((pairs,)).argsort(dim=1)
    place = (order + SampleRng(content_ids(x), 3, "expected_gradients place").uniform((pairs,))) / pairs
    assert float(place.min()) >= 0
    assert float(place.max()) < 1
    assert (place.sort(dim=1).values * pairs).long().tolist() == [list(range(pairs))] * 3
    flows = torch.zeros(3, pairs, 5, dtype=torch.float64)
    for at in (place, 1 - place):
        distance = x[:, None] - drawn
        flows += _gradients(drawn + at[:, :, None].float() * distance) * distance / 2
    torch.testing.assert_close(found.values, flows.mean(dim=1).float(), rtol=1e-3, atol=1e-5)
    assert found.stderr is not None
    torch.testing.assert_close(found.stderr, (flows.std(dim=1) / pairs**0.5).float(), rtol=1e-3, atol=1e-5)
    logits = model.logits(torch.cat([x, background]))[:, 2].double().detach()
    change = logits[:3] - logits[3:].mean()
    gap = (found.values.double().sum(dim=1) - change).abs() / change.abs()
    assert found.completeness_gap is not None
    torch.testing.assert_close(found.completeness_gap.double(), gap, rtol=1e-3, atol=1e-4)


def test_background_without_samples_is_uniform_in_the_box() -> None:
    drawn, note = background_inputs("auto", _quadratic(), _points(3), count=400, seed=0)
    assert note == "uniform noise as background, for no samples were given"
    low, high = BOX.tensors(drawn)
    unit = (drawn - low) / (high - low)
    assert 0 <= float(unit.min()) < 0.02
    assert 0.98 < float(unit.max()) <= 1
    assert float((unit.mean(dim=0) - 0.5).abs().max()) < 0.06


def test_expected_gradients_count_each_baseline_alike_over_seeds() -> None:
    weight = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -1.0]])
    x, background = torch.rand(3, 3), torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
    background[0] = 5.0
    model = linear(weight, torch.zeros(2))
    runs = [
        explain(model, x, 1, method="expected_gradients", background=background, samples=14, seed=seed, trust="quick")
        for seed in range(300)
    ]
    values = torch.stack([run.values for run in runs])
    # Two of five count twice among seven pairs: not the same two for each input, nor for each seed.
    expected = weight[1] * (x - background.mean(dim=0))
    error = values.std(dim=0) / len(runs) ** 0.5
    assert float(error[:, 1:].min()) > 0
    assert float(((values.mean(dim=0) - expected) / error.clamp_min(1e-6)).abs().max()) < 4.5
    assert (values[:, 0] - values[:, 1]).std(dim=0)[1] > 1e-3
    change = x @ weight[1] - background.mean(dim=0) @ weight[1]
    for run in runs[:20]:
        assert run.completeness_gap is not None
        gap = (run.values.sum(dim=1) - change).abs() / change.abs()
        torch.testing.assert_close(run.completeness_gap, gap, rtol=1e-3, atol=1e-4)
    assert max(float(run.completeness_gap.max()) for run in runs if run.completeness_gap is not None) > 0.01


def test_the_gap_is_against_all_of_a_background_larger_than_what_is_drawn() -> None:
    model = table_mlp()
    x, background = inputs_for(model, 3), inputs_for(model, 40, seed=4)
    found = explain(model, x, 2, method="expected_gradients", background=background, samples=10, trust="quick")
    assert found.trust.notes == ("40 given background samples",)
    logits = model.logits(torch.cat([x, background]))[:, 2].double().detach()
    change = logits[:3] - logits[3:].mean()
    assert found.completeness_gap is not None
    gap = (found.values.double().sum(dim=1) - change).abs() / change.abs()
    torch.testing.assert_close(found.completeness_gap.double(), gap, rtol=1e-3, atol=1e-4)
    assert found.cost.forward == 3 * 10 + 3 + 40


def test_the_gap_of_texts_is_against_baselines_as_long_as_the_text() -> None:
    model = token_net()
    tokens, background = inputs_for(model, 3), inputs_for(model, 4, seed=5)
    found = explain(model, tokens, 1, method="expected_gradients", background=background, samples=8, trust="quick")
    start = model.embed(background)
    means = [
        model.logits(tokens[row : row + 1].expand(4, -1), embeddings=start)[:, 1].double().mean() for row in range(3)
    ]
    change = model.logits(tokens)[:, 1].double() - torch.stack(means)
    gap = (found.values.double().sum(dim=1) - change).abs() / change.abs()
    assert found.completeness_gap is not None
    torch.testing.assert_close(found.completeness_gap.double(), gap.detach(), rtol=1e-3, atol=1e-4)
