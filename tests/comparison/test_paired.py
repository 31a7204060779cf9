"""Tests of differences against enumeration, SciPy and naive loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import permutation_test

from xaibench.comparison.paired import calibration_figure, exact_p, holm, paired_figure, sign_flip_p
from xaibench.errors import InputError
from xaibench.metrics import calibration_error


def normal(n: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(shift, 1, n))


def test_sign_flips_are_all_gone_through() -> None:
    values = normal(9, 0.5)
    sums = [abs(sum(sign * value for sign, value in zip(signs, values.tolist(), strict=True)))
            for signs in itertools.product((-1, 1), repeat=9)]  # fmt: skip
    wanted = sum(one >= abs(float(values.sum())) - 1e-12 for one in sums) / 2**9
    assert sign_flip_p(values) == pytest.approx(wanted)
    assert sign_flip_p(-values) == sign_flip_p(values)


@pytest.mark.parametrize(("n", "shift"), [(40, 0.3), (90, 0.15), (150, 0.0)])
def test_drawn_sign_flips_agree_with_scipy(n: int, shift: float) -> None:
    values = normal(n, shift, seed=n)
    wanted = permutation_test(
        (values.numpy(), np.zeros(n)),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=4000,
        rng=0,
    ).pvalue
    assert sign_flip_p(values) == pytest.approx(wanted, abs=0.025)


def test_sign_flips_of_one_size_are_mcnemars_test() -> None:
    ones = torch.tensor([1.0] * 9 + [-1.0] * 2 + [0.0] * 30)
    assert sign_flip_p(ones) == pytest.approx(exact_p(2, 9))
    assert sign_flip_p(torch.zeros(5)) == 1.0
    assert sign_flip_p(torch.ones(60)) == pytest.approx(1 / 20_001)
    assert sign_flip_p(torch.full((60,), 1e-12)) == 1.0


def test_a_figure_is_of_the_samples_that_have_it_on_both_sides() -> None:
    first = torch.tensor([1.0, 2.0, torch.nan, 4.0, 0.5])
    second = torch.tensor([2.0, 4.0, 1.0, torch.nan, 1.0])
    found = paired_figure("calibration", "log_loss", first, second, better="lower")
    assert found is not None
    assert (found.n, found.difference) == (3, pytest.approx(3.5 / 3))
    assert found.mean == pytest.approx((3.5 / 3, 7 / 3))
    assert found.p_value == pytest.approx(0.25)
    assert found.difference_interval is not None
    assert found.difference_interval[0] > 0
    assert found.outcome == "not shown"
    assert found.model_copy(update={"p_value": 0.01, "adjusted": 0.04}).outcome == "worse"
    assert found.model_copy(update={"p_value": 0.01, "adjusted": 0.06}).outcome == "not shown"
    assert found.model_copy(update={"p_value": 0.01, "better": "higher"}).outcome == "better"
    assert found.model_copy(update={"p_value": 0.01, "better": None}).outcome == "higher"
    nothing = paired_figure("calibration", "log_loss", first[:1], second[:1], better="lower")
    assert nothing is None
    with pytest.raises(InputError, match="for each sample"):
        paired_figure("calibration", "log_loss", first, second[:3], better="lower")


def test_yes_and_no_take_the_exact_test() -> None:
    first, second = torch.tensor([1.0] * 8 + [0.0] * 8), torch.tensor([1.0] * 2 + [0.0] * 14)
    found = paired_figure("transfer", "fooled_by_the_other", first, second, better="lower")
    assert found is not None
    assert (found.test, found.p_value) == ("mcnemar", pytest.approx(2 / 2**6))
    assert found.outcome == "better"


def test_a_skewed_difference_is_not_called_by_its_ranks() -> None:
    """Most samples rise a little and one falls far: ranks say higher, the mean is lower, and nothing is shown."""
    difference = torch.cat([torch.full((40,), 0.01) + 0.001 * normal(40), torch.tensor([-5.0])])
    found = paired_figure("calibration", "log_loss", torch.zeros(41), difference.double(), better="lower")
    assert found is not None
    assert found.difference < 0
    assert found.outcome == "not shown"


def test_calibration_errors_are_described_and_not_judged() -> None:
    labels = torch.arange(60) % 3
    logits = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    found = calibration_figure(logits, 4 * logits, labels)
    assert found is not None
    wanted = [calibration_error(part.double().softmax(dim=1), labels) for part in (logits, 4 * logits)]
    assert found.mean == pytest.approx(tuple(wanted))
    assert found.difference == pytest.approx(wanted[1] - wanted[0])
    assert found.outcome == "not tested"


def test_two_calibrated_models_show_no_difference_in_calibration() -> None:
    """One is sure of some samples and not of others, the other equally sure of all: each is right as often as it says.

    The plug-in error of the first is larger all the same, as its samples fall into more bins.
    """
    rng = np.random.default_rng(0)
    larger = 0
    for _ in range(40):
        chance = torch.tensor(rng.uniform(0.5, 1, 200))
        labels = torch.tensor(rng.random(200) > chance.numpy()).long()
        spread = torch.stack([chance, 1 - chance], dim=1).log()
        level = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log().expand(200, 2)
        found = calibration_figure(level, spread, labels)
        assert found is not None
        assert not found.found
        assert found.difference_interval is None
        larger += found.difference > 0
    assert larger > 35


def test_nothing_is_found_without_a_test() -> None:
    values = normal(30, 2.0)
    found = paired_figure("calibration", "log_loss", values, values + 1 + 0.1 * normal(30, seed=1), better="lower")
    assert found is not None
    assert found.outcome == "worse"
    assert found.difference_interval is not None
    assert found.difference_interval[0] > 0
    assert found.model_copy(update={"p_value": None, "test": None}).outcome == "not tested"


def test_differences_by_chance_are_found_as_seldom_as_said() -> None:
    """Of 400 samples without a difference, one in twenty: 20, of which four standard deviations are 17."""
    drawn = sum(sign_flip_p(normal(12, seed=seed)) < 0.05 for seed in range(400))
    assert 3 <= drawn <= 37


def test_holm_steps_down() -> None:
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
