"""How far a map moved, by hand."""

import pytest
import torch

from xaibench.errors import InputError
from xaibench.manipulation import TopK, moved


def test_a_map_that_stayed_did_not_move() -> None:
    image = torch.randn(3, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    stayed = {"rank_correlation": 1.0, "top_k_overlap": 1.0, "centre_shift": 0.0, "similarity": 1.0}
    for after in (image, 2 * image):
        for name, value in moved(image, after).figures().items():
            assert value.tolist() == pytest.approx([stayed[name]] * 3, abs=1e-6)


def test_a_table_has_no_places() -> None:
    found = moved(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]), share=0.5)
    assert found.figures().keys() == {"rank_correlation", "top_k_overlap"}
    assert (float(found.rank_correlation), float(found.top_k_overlap)) == (pytest.approx(-1.0), 0.0)


def test_a_corner_that_went_to_the_other_one_moved_by_the_diagonal() -> None:
    before, after = torch.zeros(1, 1, 5, 5), torch.zeros(1, 1, 5, 5)
    before[..., 0, 0], after[..., 4, 4] = 1.0, -1.0
    found = moved(before, after)
    assert found.centre_shift is not None
    assert found.similarity is not None
    assert float(found.centre_shift) == pytest.approx(1.0)
    assert float(found.similarity) < 0.1


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="of one shape"):
        moved(torch.zeros(1, 4), torch.zeros(1, 5))


def test_a_map_without_an_order_that_stayed_did_not_move() -> None:
    flat = torch.ones(1, 4)
    assert moved(flat, flat).rank_correlation.tolist() == [1.0]
    assert moved(flat, torch.rand(1, 4)).rank_correlation.tolist() == [0.0]


def test_only_places_that_count_are_compared() -> None:
    before, after = torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.tensor([[3.0, 2.0, 1.0, 9.0]])
    where = torch.tensor([[True, True, True, False]])
    found = moved(before, after, share=0.34, where=where)
    assert (float(found.rank_correlation), float(found.top_k_overlap)) == (pytest.approx(1.0), 1.0)


def test_places_that_tie_leave_the_top_in_part() -> None:
    before = torch.tensor([[4.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
    same, half, none = (
        torch.tensor([row]) for row in ([4.0, 1, 1, 0, 0, 0], [4.0, 0, 3, 0, 0, 0], [0.0, 0, 0, 1, 1, 1])
    )
    goal = TopK(share=0.34)
    # Two places: the first, and half of each of the next two. What is in the top has 5 of the weight of 6.
    assert (-goal.climb(before, before)).tolist() == pytest.approx([5 / 6])
    assert [float(goal.reached(after, before)) for after in (same, half, none)] == pytest.approx(
        [0.5 * (1 / 6) / 2, 0.25 + 0.5 * (1 - 5.5 / 7) / 2, 1 + 0.5 / 2]
    )
