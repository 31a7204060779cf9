"""A user's own NumPy archives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xaibench.data import load_data
from xaibench.errors import InputError

BYTES = np.random.default_rng(0).integers(0, 256, (10, 8, 7, 3), dtype=np.uint8)
LABELS = np.arange(10) % 2


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    "images",
    [BYTES, BYTES.transpose(0, 3, 1, 2), (BYTES / 255).astype(np.float32), BYTES / 255.0],
    ids=["bytes", "channels first", "float32", "float64"],
)
def test_images_of_any_layout_and_type(tmp_path: Path, images: np.ndarray) -> None:
    data = load_data(save(tmp_path / "a.npz", x=images, y=LABELS, class_names=np.array(["no", "yes"])), "all")
    expected = torch.from_numpy(BYTES).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(data.inputs, expected, rtol=0, atol=1e-7)
    assert (data.task, data.class_names, data.labels.tolist()) == ("image", ("no", "yes"), LABELS.tolist())


def test_greyscale_without_a_channel_axis(tmp_path: Path) -> None:
    data = load_data(save(tmp_path / "a.npz", images=BYTES[..., 0], labels=LABELS), "all")
    assert data.inputs.shape == (10, 1, 8, 7)  # type: ignore[union-attr]


def test_splits_as_keras_stores_them(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x_train=BYTES, y_train=LABELS[:, None], x_test=BYTES[:4], y_test=LABELS[:4])
    assert (len(load_data(path, "train")), len(load_data(path))) == (10, 4)


def test_tables_and_texts(tmp_path: Path) -> None:
    table = save(tmp_path / "t.npz", x=np.eye(10), y=LABELS, feature_names=np.array(list("abcdefghij")))
    data = load_data(table, "all")
    assert (data.task, data.feature_names) == ("tabular", tuple("abcdefghij"))
    words = load_data(save(tmp_path / "w.npz", texts=np.array(["a", "b"] * 5), y=np.array(["x", "y"] * 5)), "all")
    assert (words.task, words.inputs[:2], words.class_names) == ("text", ("a", "b"), ("x", "y"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": BYTES}, "expected arrays x and y in .*a.npz, got x"),
        (
            {"x": BYTES, "y": LABELS[:9]},
            r"expected one label an input in .*, got shapes \(9,\) for inputs \(10, 8, 7, 3\)",
        ),
        ({"x": BYTES, "y": np.eye(10)}, r"expected one label an input in .*, got shapes \(10, 10\)"),
        ({"x": BYTES / 1.0, "y": LABELS}, r"expected images as bytes or floats in \[0, 1\] in a.npz, got 0 to 255"),
        ({"x": BYTES.astype(int), "y": LABELS}, r"expected images as bytes or floats in \[0, 1\]"),
        ({"x": BYTES[..., :2], "y": LABELS}, r"expected images of 1 or 3 channels in .*, got .* \(10, 8, 7, 2\)"),
        ({"x": np.full((10, 2), np.nan), "y": LABELS}, "expected finite inputs in a.npz, got NaN or infinity"),
        ({"x": BYTES, "y": LABELS - 1}, "expected labels from 0 to 0 in .*, got -1"),
        (
            {"x": BYTES, "y": LABELS + 1, "class_names": np.array(["a", "b"])},
            "expected labels from 0 to 1 in .*, got 2",
        ),
        ({"x": BYTES, "y": np.array(["c"] * 10), "class_names": np.array(["a", "b"])}, "among a, b in .*, got 'c'"),
        ({"x": BYTES, "y": LABELS / 2}, "expected labels as integers or words"),
        ({"x": BYTES[:0], "y": LABELS[:0]}, "at least one row in .*a.npz, got an empty set"),
        (
            {"x": BYTES, "y": np.full(10, 2**64 - 1, np.uint64)},
            "below 100000 as labels in .*, got 18446744073709551615",
        ),
        (
            {"x": BYTES, "y": LABELS, "class_names": np.array(["a", "a"])},
            "classes with different names in a.npz, got 'a' twice",
        ),
        (
            {"x": BYTES, "y": LABELS, "class_names": np.array([["a"], ["b"]])},
            r"`class_names` as a list in .*a.npz, got an array of shape \(2, 1\)",
        ),
        ({"x": np.eye(10), "y": LABELS, "feature_names": np.array(["f"] * 10)}, "features with different names"),
        ({"x": np.eye(10), "y": LABELS, "feature_names": np.array(["f"])}, "a name for each feature of a.npz, got 1"),
        ({"x": np.array([None] * 10), "y": LABELS}, "without pickled objects"),
    ],
)
def test_bad_archives_are_answered_in_one_line(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(save(tmp_path / "a.npz", **arrays), "all")
    assert "\n" not in str(caught.value)


def test_an_empty_archive_is_called_empty_whatever_the_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got an empty set"):
        load_data(save(tmp_path / "a.npz", x=BYTES[:0], y=LABELS[:0]))


def test_an_archive_has_no_label_column(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=BYTES, y=LABELS)
    with pytest.raises(InputError, match=r"a label column after a table only, got a\.npz:other"):
        load_data(f"{path}:other")


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x=BYTES, y=LABELS)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"expected a NumPy archive \(.npz\) in .*a.npz"):
        load_data(path)
