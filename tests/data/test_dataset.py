"""`Data`: selections of rows, and what its digest stands for."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch

from xaibench.data import Data
from xaibench.data.dataset import data_digest
from xaibench.data.source import feature_bounds, select_rows, stratified_split
from xaibench.errors import InputError
from xaibench.types import Bounds

LABELS = torch.tensor([0, 1, 1])
NAMES = ("no", "yes")


def make(inputs: torch.Tensor | tuple[str, ...]) -> Data:
    return Data(
        name="made",
        split="test",
        task="text" if isinstance(inputs, tuple) else "tabular",
        inputs=inputs,
        labels=LABELS,
        class_names=NAMES,
        ids=torch.tensor([7, 8, 9]),
        digest=data_digest(inputs, LABELS, NAMES),
        bounds=Bounds(),
        masks=torch.eye(3, dtype=torch.bool)[:, None],
    )


def test_take_keeps_ids_and_rows_together() -> None:
    taken = make(torch.arange(6.0).reshape(3, 2)).take([2, 0])
    assert taken.inputs.tolist() == [[4.0, 5.0], [0.0, 1.0]]  # type: ignore[union-attr]
    assert taken.labels.tolist() == [1, 0]
    assert taken.ids.tolist() == [9, 7]
    assert taken.masks is not None
    assert taken.masks.flatten(1).nonzero()[:, 1].tolist() == [2, 0]
    assert taken.digest == data_digest(torch.tensor([[4.0, 5.0], [0.0, 1.0]]), torch.tensor([1, 0]), NAMES)


def test_take_of_texts_by_mask() -> None:
    taken = make(("a", "b", "c")).take(torch.tensor([True, False, True]))
    assert taken.inputs == ("a", "c")
    assert len(taken) == 2


@pytest.mark.parametrize("indices", [[3], [-4], [[0, 1]]])
def test_take_refuses_positions_that_are_not_there(indices: list[int]) -> None:
    with pytest.raises(InputError, match="expected a list of positions below 3"):
        make(("a", "b", "c")).take(indices)


def test_lengths_must_agree() -> None:
    with pytest.raises(InputError, match=r"'labels': 2"):
        dataclasses.replace(make(("a", "b", "c")), labels=torch.tensor([0, 1]))


def test_digest_is_sha256_of_a_written_down_layout() -> None:
    """Derived a second time from bytes, so that another machine or version cannot disagree unnoticed."""
    expected = hashlib.sha256()
    expected.update(b"<f4 (1, 2)\n" + bytes.fromhex("0000803f") + bytes.fromhex("00000040"))
    expected.update(b"<i8 (1,)\n" + (1).to_bytes(8, "little"))
    expected.update(b"2 texts\n" + (2).to_bytes(8, "little") + b"no" + (3).to_bytes(8, "little") + b"yes")
    assert data_digest(torch.tensor([[1.0, 2.0]]), torch.tensor([1]), NAMES) == expected.hexdigest()


def test_digest_notices_every_part() -> None:
    table = torch.arange(6.0).reshape(3, 2)
    digests = {
        data_digest(table, LABELS, NAMES),
        data_digest(table.T.contiguous().reshape(3, 2), LABELS, NAMES),
        data_digest(table.reshape(3, 1, 2), LABELS, NAMES),
        data_digest(table, LABELS.flip(0), NAMES),
        data_digest(table, LABELS, ("yes", "no")),
        data_digest(("ab", "c", ""), LABELS, NAMES),
        data_digest(("a", "bc", ""), LABELS, NAMES),
    }
    assert len(digests) == 7
    assert data_digest(table.T.contiguous().T, LABELS, NAMES) in digests, "strides are not content"


def test_selection_is_nested_seeded_and_in_range() -> None:
    assert select_rows(10, 3, 0).tolist() == select_rows(10, 7, 0)[:3].tolist()
    assert sorted(select_rows(10, 10, 1).tolist()) == list(range(10))
    assert select_rows(50, 20, 0).tolist() != select_rows(50, 20, 1).tolist()
    assert select_rows(10, None, 5).tolist() == list(range(10))
    assert select_rows(10, 4, None).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("n", [0, -1, 11])
def test_selection_refuses_counts_that_are_not_there(n: int) -> None:
    with pytest.raises(InputError, match=f"from 1 to 10, the rows there are, got {n}"):
        select_rows(10, n, 0)


def test_selection_refuses_an_empty_set() -> None:
    with pytest.raises(InputError, match="empty set"):
        select_rows(0, None, 0)


def test_stratified_split_is_proportional_disjoint_and_complete() -> None:
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 2 + [3])
    split = stratified_split(labels)
    assert labels[split["test"]].bincount(minlength=4).tolist() == [10, 2, 1, 0]
    assert sorted(split["train"].tolist() + split["test"].tolist()) == split["all"].tolist() == list(range(63))


def test_bounds_of_a_constant_feature_have_a_span() -> None:
    bounds = feature_bounds(torch.tensor([[1.0, 5.0, 3e9], [2.0, 5.0, 3e9]]))
    assert bounds.lower == (1.0, 5.0, 3e9)
    assert bounds.upper[:2] == (2.0, 6.0)  # type: ignore[index]
    assert bounds.upper[2] > 3e9  # type: ignore[index]
