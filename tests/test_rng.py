import math

import pytest
import torch
from scipy import stats

from xaibench.rng import SampleRng, derive_seed, permutation

N = 20_000


def _rng(ids: int | torch.Tensor, seed: int = 0, stream: str = "test") -> SampleRng:
    return SampleRng(torch.arange(ids) if isinstance(ids, int) else ids, seed=seed, stream=stream)


@pytest.mark.parametrize("shape", [(N, 1), (1, N), (100, N // 100)], ids=["samples", "elements", "both"])
@pytest.mark.parametrize("seed", [0, 1])
def test_uniform_and_normal_numbers_are_so(shape: tuple[int, int], seed: int) -> None:
    rng = _rng(shape[0], seed)
    assert stats.kstest(rng.uniform(shape[1:]).flatten().double(), "uniform").pvalue > 1e-3
    assert stats.kstest(rng.normal(shape[1:]).flatten().double(), "norm").pvalue > 1e-3
    stretched = rng.uniform(shape[1:], low=-2.0, high=3.0).flatten().double()
    assert stats.kstest(stretched, stats.uniform(-2, 5).cdf).pvalue > 1e-3


def test_every_bit_is_a_fair_coin() -> None:
    bits = _rng(200).bits((100,)).flatten()
    for position in range(64):
        ones = int(((bits >> position) & 1).sum())
        assert stats.binomtest(ones, len(bits)).pvalue > 1e-4


@pytest.mark.parametrize(
    "other",
    [
        _rng(N, seed=1).uniform((1,)),
        _rng(N, stream="other").uniform((1,)),
        _rng(N).uniform((1,), step=1),
        _rng(torch.arange(N) + 1).uniform((1,)),
        _rng(N).uniform((2,))[:, 1:],
        _rng(N, seed=1).uniform((1,), step=-1),
    ],
    ids=["seed", "stream", "step", "sample", "element", "seed-step"],
)
def test_other_counters_give_independent_numbers(other: torch.Tensor) -> None:
    numbers = _rng(N).uniform((1,))
    assert stats.pearsonr(numbers.flatten(), other.flatten()).pvalue > 1e-3
    table = torch.histogramdd(torch.cat([numbers, other], dim=1), bins=[8, 8], range=[0.0, 1.0, 0.0, 1.0]).hist
    assert stats.chisquare(table.flatten()).pvalue > 1e-3


def test_neighbours_in_a_row_are_independent() -> None:
    row = _rng(1).uniform((N,)).flatten()
    for lag in (1, 2, 28):
        assert stats.pearsonr(row[lag:], row[:-lag]).pvalue > 1e-3
    normal = _rng(1).normal((N,)).flatten()
    assert stats.pearsonr(normal[1:].abs(), normal[:-1].abs()).pvalue > 1e-3


def test_no_two_counters_collide() -> None:
    drawn = torch.cat([_rng(500).bits((200,), step) for step in range(5)]).flatten()
    assert len(drawn.unique()) == len(drawn)


def test_numbers_do_not_depend_on_batch_order_or_shape() -> None:
    ids = torch.tensor([7, 0, 10**12, 7, -3])
    whole = _rng(ids).normal((3, 4), step=2)
    order = torch.tensor([4, 2, 0])
    assert torch.equal(_rng(ids[order]).normal((3, 4), step=2), whole[order])
    assert torch.equal(whole[0], whole[3])
    assert torch.equal(_rng(ids).normal((12,), step=2), whole.flatten(1))
    assert torch.equal(_rng(ids).normal((5,), step=2), whole.flatten(1)[:, :5])
    assert torch.equal(_rng(ids.int().long()).bits((2,))[:2], _rng(ids).bits((2,))[:2])


def test_known_numbers_are_the_same_on_every_machine() -> None:
    # Written out once: a change of the generator changes every published result, and has to be meant.
    assert derive_seed(0, "pgd") == 4304764070222431314
    assert SampleRng(torch.tensor([0, 5]), seed=3, stream="pgd").bits((2,), step=1).tolist() == [
        [-6474836291325668803, 7892565219786301339],
        [-7530384490488411335, -8997701934699781136],
    ]
    assert permutation(6, 0, "split").tolist() == [3, 2, 0, 5, 4, 1]


def test_a_step_for_each_sample_is_that_sample_at_that_step() -> None:
    ids, steps = torch.tensor([4, 9, 4]), torch.tensor([0, 7, 3])
    drawn = SampleRng(ids, seed=1, stream="pgd").normal((5,), steps)
    for row, (sample, step) in enumerate(zip(ids.tolist(), steps.tolist(), strict=True)):
        alone = SampleRng(torch.tensor([sample]), seed=1, stream="pgd").normal((5,), step)
        assert torch.equal(drawn[row], alone[0])


def test_uniform_numbers_stay_below_their_upper_end() -> None:
    class Extreme(SampleRng):
        def bits(self, shape: tuple[int, ...], step: int = 0) -> torch.Tensor:
            return torch.full((1, *shape), -1)

    rng = Extreme(torch.tensor([0]))
    for low, high in [(0.0, 1.0), (0.5, 1.0), (-1.0, 1.0), (100.0, 101.0)]:
        assert float(rng.uniform((1,), low=low, high=high)) < high
    assert math.isfinite(float(rng.normal((1,))))


def test_normal_numbers_are_finite_at_the_lowest_bits() -> None:
    class Extreme(SampleRng):
        def bits(self, shape: tuple[int, ...], step: int = 0) -> torch.Tensor:
            return torch.zeros(1, *shape, dtype=torch.int64)

    assert 6 < float(Extreme(torch.tensor([0])).normal((1,))) < 7


def test_a_permutation_depends_on_its_parts_alone() -> None:
    assert permutation(50, 1, "a").sort().values.tolist() == list(range(50))
    torch.manual_seed(1)
    first = permutation(50, 1, "a")
    torch.manual_seed(2)
    assert torch.equal(first, permutation(50, 1, "a"))
    assert not torch.equal(first, permutation(50, 1, "b"))


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    _rng(3).normal((4,))
    permutation(10, 0)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_numbers_are_the_same_on_a_gpu() -> None:
    here, there = _rng(50), _rng(torch.arange(50, device="cuda"))
    assert torch.equal(here.bits((99,)), there.bits((99,)).cpu())
    assert torch.equal(here.uniform((99,)), there.uniform((99,)).cpu())
    torch.testing.assert_close(here.normal((99,)), there.normal((99,)).cpu(), rtol=1e-6, atol=1e-6)
