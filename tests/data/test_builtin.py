"""The data sets that need no download, checked against scikit-learn's own arrays."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits

from xaibench.data import data_names, load_data
from xaibench.errors import InputError


def test_digits_are_scikit_learns_in_the_unit_range() -> None:
    train, test, both = (load_data("digits", split) for split in ("train", "test", "all"))
    raw = torch.from_numpy(load_digits().images).float()
    assert torch.equal(both.inputs * 16, raw[:, None])  # type: ignore[operator]
    assert both.labels.tolist() == load_digits().target.tolist()
    assert len(train) + len(test) == len(both) == 1797
    assert both.class_names == tuple("0123456789")
    assert (train.task, train.inputs.dtype, train.labels.dtype) == ("image", torch.float32, torch.int64)  # type: ignore[union-attr]
    rows = {image.numpy().tobytes() for image in train.inputs}  # type: ignore[union-attr]
    assert not any(image.numpy().tobytes() in rows for image in test.inputs), "a test image is in the training split"


def test_digits_test_split_is_fixed() -> None:
    """A model's card names this split: it must not move between versions."""
    test = load_data("digits")
    assert test.labels.bincount().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert test.digest == "ff147387f5c8c558df4d4e31a5cf4e97927f1d19ba2b521d0385bba379d43cfb"


def test_breast_cancer_is_in_raw_units_with_bounds_of_the_training_split() -> None:
    train, test = load_data("breast-cancer", "train"), load_data("breast-cancer")
    raw = load_breast_cancer()
    assert train.task == "tabular"
    assert train.class_names == ("malignant", "benign")
    assert train.feature_names == tuple(raw.feature_names)
    assert train.bounds == test.bounds
    assert train.bounds.lower == tuple(train.inputs.amin(0).tolist())  # type: ignore[union-attr]
    assert train.bounds.upper == tuple(train.inputs.amax(0).tolist())  # type: ignore[union-attr]
    together = torch.cat([train.inputs, test.inputs]).sort(0).values  # type: ignore[list-item]
    assert torch.equal(together, torch.from_numpy(raw.data).float().sort(0).values)


def test_ids_name_the_rows_of_the_full_split() -> None:
    full = load_data("digits")
    some = load_data("digits", n=20, seed=3)
    assert torch.equal(some.inputs, full.take(some.ids).inputs)  # type: ignore[arg-type]
    assert some.digest == full.take(some.ids).digest
    assert load_data("digits", n=7, seed=3).ids.tolist() == some.ids[:7].tolist()
    assert load_data("digits", n=20, seed=4).ids.tolist() != some.ids.tolist()
    assert load_data("digits", n=3, seed=None).ids.tolist() == [0, 1, 2]


def test_names_are_sorted_and_load() -> None:
    names = data_names()
    assert list(names) == sorted(names)
    assert {"breast-cancer", "cifar10", "digits", "evidence", "evidence-watermark", "imdb", "mnist"} <= set(names)


@pytest.mark.parametrize(
    ("name", "split", "n", "message"),
    [
        ("digist", "test", None, r"unknown data set 'digist'; did you mean 'digits', 'mnist'\? known: breast-cancer"),
        ("", "test", None, "unknown data set ''"),
        ("digits", "dev", None, r"expected a split of digits \(train, test, all\), got 'dev'"),
        ("digits", "test", 0, "expected `n` from 1 to 359, the rows there are, got 0"),
        ("digits", "test", 400, "got 400"),
        ("missing.csv", "test", None, "expected an existing file or folder, got missing.csv"),
        ("/no/such/folder", "test", None, "expected an existing file or folder, got /no/such/folder"),
    ],
)
def test_bad_requests_are_answered_in_one_line(name: str, split: str, n: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(name, split, n)
    assert "\n" not in str(caught.value)


def test_a_label_column_after_a_built_in_set_is_an_unknown_name() -> None:
    with pytest.raises(InputError, match="unknown data set 'digits:kind'; did you mean 'digits'"):
        load_data("digits:kind")
