"""How far attributions agree, against scipy."""

import pytest
import torch
from scipy.stats import spearmanr

from xaibench.errors import InputError
from xaibench.metrics import rank_correlation


def test_rank_correlation_agrees_with_scipy_also_on_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randint(0, 5, (2, 6, 4, 10), generator=generator).float()
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    assert rank_correlation(one, other).tolist() == pytest.approx(expected)


def test_a_constant_map_agrees_with_nothing() -> None:
    assert rank_correlation(torch.rand(2, 9), torch.zeros(2, 9)).tolist() == [0.0, 0.0]


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"got \(2, 3\) and \(2, 4\)"):
        rank_correlation(torch.zeros(2, 3), torch.zeros(2, 4))
