"""How far attributions agree, against scipy."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from xaibench.errors import InputError
from xaibench.metrics.agreement import (
    centre_shift,
    centres,
    magnitudes,
    rank_correlation,
    structural_similarity,
    top_k,
    top_k_overlap,
)


def test_rank_correlation_agrees_with_scipy_also_on_ties() -> None:
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randint(0, 5, (2, 6, 4, 10), generator=generator).float()
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(one.numpy(), other.numpy(), strict=True)]
    assert rank_correlation(one, other).tolist() == pytest.approx(expected)


def test_only_the_values_that_count_are_ranked() -> None:
    generator = torch.Generator().manual_seed(1)
    one, other = torch.randint(0, 5, (2, 6, 12), generator=generator).float()
    where = torch.rand(6, 12, generator=generator) < 0.6
    expected = [spearmanr(a[w], b[w]).statistic for a, b, w in zip(one, other, where, strict=True)]
    assert rank_correlation(one, other, where).tolist() == pytest.approx(expected)
    torch.testing.assert_close(
        rank_correlation(one, other, torch.ones_like(where)), rank_correlation(one, other), rtol=0, atol=1e-12
    )


def test_a_constant_map_agrees_with_nothing() -> None:
    assert rank_correlation(torch.rand(2, 9), torch.zeros(2, 9)).tolist() == [0.0, 0.0]


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"got \(2, 3\) and \(2, 4\)"):
        rank_correlation(torch.zeros(2, 3), torch.zeros(2, 4))


def test_top_k_counts_the_places_that_both_rank_highest() -> None:
    one = torch.tensor([[5.0, -4.0, 3.0, 2.0, 1.0], [1.0, 0.0, 0.0, 0.0, 0.0]])
    other = torch.tensor([[0.0, 9.0, -8.0, 7.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
    assert top_k_overlap(one, other, share=0.4).tolist() == [0.5, 0.0]
    assert top_k_overlap(one, other, share=0.2).tolist() == [0.0, 0.0]
    assert top_k_overlap(one, one).tolist() == [1.0, 1.0]
    with pytest.raises(InputError, match=r"share of the places in \(0, 1\], got 0"):
        top_k_overlap(one, other, share=0)


def _naive_top(size: list[float], count: int) -> list[float]:
    """The chance of each place to be taken when ties are broken at random, in all orders; zeros are never taken."""
    order = [sorted(places, key=lambda i: -size[i])[:count] for places in permutations(range(len(size)))]
    taken = [[i for i in top if size[i] > 0 or not any(size)] for top in order]
    return [sum(i in top for top in taken) / len(taken) for i in range(len(size))]


def test_ties_count_by_their_chance_to_be_taken() -> None:
    generator = torch.Generator().manual_seed(3)
    maps = torch.randint(-2, 3, (20, 6), generator=generator).float()
    maps[0], maps[1] = 0.0, 2.0
    other = torch.randint(-2, 3, (20, 6), generator=generator).float()
    for share, count in ((0.1, 1), (0.34, 2), (0.5, 3), (1.0, 6)):
        tops = [[_naive_top(row.abs().tolist(), count) for row in part] for part in (maps, other)]
        for row, expected in zip(top_k(maps, share).tolist(), tops[0], strict=True):
            assert row == pytest.approx(expected)
        overlap = [sum(map(min, a, b)) / sum(a) for a, b in zip(*tops, strict=True)]
        assert top_k_overlap(maps, other, share).tolist() == pytest.approx(overlap)


def test_maps_that_are_zero_almost_everywhere_overlap_where_they_are_not() -> None:
    one, other = torch.zeros(2, 1, 28, 28), torch.zeros(2, 1, 28, 28)
    one[:, 0, 3, 4] = 1.0
    other[0, 0, 20, 9], other[1, 0, 3, 4] = 1.0, -5.0
    assert top_k_overlap(one, other).tolist() == [0.0, 1.0]
    flat = torch.ones(1, 8)
    assert top_k_overlap(flat, 3 * flat, share=0.25).tolist() == [1.0]
    assert top_k_overlap(flat[:, :4], torch.tensor([[1.0, 0.0, 0.0, 0.0]]), share=0.25).tolist() == [0.25]
    assert top_k_overlap(flat, -flat, where=torch.zeros(1, 8, dtype=torch.bool)).tolist() == [1.0]


def test_top_k_of_an_image_are_pixels() -> None:
    image = torch.zeros(1, 2, 2, 2)
    image[0, 0, 0, 0], image[0, 1, 0, 0], image[0, 0, 1, 1] = 1.0, -1.0, 1.5
    assert top_k(image, share=0.25).tolist() == [[True, False, False, False]]


def test_centres_are_those_of_mass_and_their_shift_is_a_share_of_the_diagonal() -> None:
    one, other = torch.zeros(3, 1, 4, 5), torch.zeros(3, 1, 4, 5)
    one[0, 0, 0, 0], other[0, 0, 3, 4] = 2.0, -7.0
    one[1, 0, 0, 0], one[1, 0, 0, 4], other[1, 0, 0, 2] = 1.0, 3.0, 1.0
    torch.testing.assert_close(centres(one), torch.tensor([[0.0, 0.0], [0.0, 3.0], [1.5, 2.0]]))
    assert centre_shift(one, other).tolist() == pytest.approx([1.0, 0.2, 0.0], abs=1e-6)


def _naive_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Window by window, as the paper writes it."""
    side = np.minimum(11, a.shape)
    axes = [np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / 1.5) ** 2) for size in side]
    weight = np.outer(*axes) / np.outer(*axes).sum()
    found = []
    for i in range(a.shape[0] - side[0] + 1):
        for j in range(a.shape[1] - side[1] + 1):
            x, y = (part[i : i + side[0], j : j + side[1]] for part in (a, b))
            mx, my = (weight * x).sum(), (weight * y).sum()
            vx, vy = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum()
            both = (weight * (x - mx) * (y - my)).sum()
            found.append((2 * mx * my + 1e-4) * (2 * both + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
    return float(np.mean(found))


@pytest.mark.parametrize("shape", [(8, 8), (14, 20)])
def test_structural_similarity_is_that_of_a_naive_loop(shape: tuple[int, int]) -> None:
    one, other = torch.randn(2, 3, 1, *shape, generator=torch.Generator().manual_seed(1))
    found = structural_similarity(one, other)
    for a, b, value in zip(one, other, found, strict=True):
        first, second = (part[0].abs().double().numpy() for part in (a, b))
        assert float(value) == pytest.approx(_naive_similarity(first / first.max(), second / second.max()))
    assert structural_similarity(one, 3 * one).tolist() == pytest.approx([1.0] * 3)


def test_places_that_do_not_count_are_never_at_the_top() -> None:
    one, where = torch.tensor([[0.0, 2.0, 1.0, 9.0]]), torch.tensor([[True, True, True, False]])
    assert top_k(one, share=0.67, where=where).tolist() == [[False, True, True, False]]
    assert top_k_overlap(one, torch.tensor([[0.0, 1.0, 2.0, 0.0]]), share=0.34, where=where).tolist() == [0.0]


def test_magnitudes_of_images_add_up_the_channels() -> None:
    assert magnitudes(torch.tensor([[[[1.0, 0.0]], [[-2.0, 3.0]]]])).tolist() == [[[3.0, 3.0]]]
    assert magnitudes(torch.tensor([[1.0, -2.0]])).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_centres_do_not_depend_on_the_scale(scale: float) -> None:
    image = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(2))
    image[:, :, 0] = 0.0
    torch.testing.assert_close(centres(scale * image), centres(image))
