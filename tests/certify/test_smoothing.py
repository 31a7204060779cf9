"""Randomised smoothing of linear models, whose smoothed answers are known exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import binomtest
from small_models import inputs_for, linear, token_net, torch_cnn
from torch.distributions import Normal

from xaibench.certify import Smoothing
from xaibench.certify.smoothing import lower_confidence_bound
from xaibench.errors import InputError, UnsupportedError

WEIGHT, BIAS = torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.tensor([0.5, 0.0])
LENGTH = 5.0  # of the difference of both rows


def test_radius_of_a_linear_model_in_closed_form() -> None:
    x = torch.tensor([[0.5, 0.2], [0.3, 0.5], [0.9, 0.6], [0.1, 0.9]])
    z = x @ WEIGHT.T + BIAS
    distance = (z[:, 0] - z[:, 1]) / LENGTH
    smoothing = Smoothing(sigma=0.25, n0=50, n=20_000, batch_size=5_000)
    found = smoothing(linear(WEIGHT, BIAS), x)
    assert found.prediction.tolist() == (distance < 0).long().tolist()
    true = Normal(0.0, 1.0).cdf(distance.abs().double() / 0.25)
    # The count is binomial; the bound lies some 3.1 standard deviations below it, the count within 4 of its mean.
    deviation = (true * (1 - true) / 20_000).sqrt()
    assert bool((found.p_lower < true + deviation).all())
    assert bool((found.p_lower > true - 8 * deviation - 5e-4).all())
    torch.testing.assert_close(found.radius, 0.25 * Normal(0.0, 1.0).icdf(found.p_lower))
    assert bool((found.radius < distance.abs() + 0.01).all())
    assert found.radius.tolist() == pytest.approx(distance.abs().tolist(), rel=0.25)


def test_undecided_answers_are_withheld() -> None:
    model = linear(WEIGHT, BIAS)
    x = torch.tensor([[0.5, 0.5], [0.5, 0.498], [1.0, 0.0]])
    found = Smoothing(sigma=0.5, n=500)(model, x)
    assert found.prediction.tolist() == [-1, -1, 0]
    assert found.radius.tolist()[:2] == [0.0, 0.0]
    assert found.certified(torch.tensor([1, 0, 0]), 0.0).tolist() == [False, False, True]


def test_certified_accuracy_counts_right_answers_within_their_radius() -> None:
    model = linear(WEIGHT, BIAS)
    x = torch.tensor([[0.5, 0.2], [0.1, 0.9], [0.1, 0.9]])  # at 0.24 from the plane, and at 0.56
    found = Smoothing(sigma=0.25, n=2_000)(model, x)
    y = torch.tensor([0, 1, 0])
    assert found.certified(y, 0.1).tolist() == [True, True, False]
    assert found.certified(y, 0.4).tolist() == [False, True, False]
    assert found.certified(y, 2.0).tolist() == [False, False, False]
    with pytest.raises(InputError, match="expected a radius >= 0, got -1"):
        found.certified(y, -1)


def test_confidence_bound_is_that_of_clopper_and_pearson() -> None:
    hits = [0, 1, 50, 99, 100]
    found = lower_confidence_bound(torch.tensor(hits), 100, 0.001)
    for count, bound in zip(hits, found.tolist(), strict=True):
        exact = binomtest(count, 100, alternative="greater").proportion_ci(0.999, method="exact")
        assert bound == pytest.approx(exact.low, abs=1e-12)


def test_noise_belongs_to_sample_and_seed() -> None:
    model = torch_cnn()
    x, ids = inputs_for(model, 4), torch.tensor([7, 3, 12, 5])
    smoothing = Smoothing(sigma=0.3, n0=20, n=300, alpha=0.05)
    found = smoothing(model, x, ids=ids, seed=1)
    order = torch.tensor([2, 0])
    other = replace(smoothing, batch_size=64)(model, x[order], ids=ids[order], seed=1)
    assert torch.equal(other.p_lower, found.p_lower[order])
    assert torch.equal(other.prediction, found.prediction[order])
    twins = smoothing(model, x[:1].expand(3, -1, -1, -1), ids=torch.tensor([1, 1, 2]))
    assert twins.p_lower[0] == twins.p_lower[1] != twins.p_lower[2]
    assert not torch.equal(smoothing(model, x, ids=ids, seed=2).p_lower, found.p_lower)


def test_noise_leaves_the_box() -> None:
    # Far from the box the second class wins: only noise that is not clipped gets there.
    model = linear(torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, -2.0]))
    found = Smoothing(sigma=5.0, n=2_000)(model, torch.tensor([[1.0, 0.5]]))
    assert float(found.p_lower) < 0.65


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sigma": 0.0}, "expected `sigma` > 0, got 0.0"),
        ({"sigma": float("nan")}, "expected `sigma` > 0, got nan"),
        ({"sigma": 1.0, "alpha": 1.0}, "expected `alpha` between 0 and 1, got 1.0"),
        ({"sigma": 1.0, "n0": 0}, "expected `n0` >= 1, got 0"),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Smoothing(**fields)


def test_bad_input_is_named() -> None:
    text = token_net()
    with pytest.raises(UnsupportedError, match="got a model of text"):
        Smoothing(sigma=1.0)(text, inputs_for(text, 2))
    with pytest.raises(InputError, match=r"expected 1 sample ids, whole numbers, got torch.int64 \(2,\)"):
        Smoothing(sigma=1.0)(linear(WEIGHT, BIAS), torch.zeros(1, 2), ids=torch.tensor([0, 1]))
