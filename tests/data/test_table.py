"""A user's own tables and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from xaibench.data import load_data
from xaibench.errors import InputError

ROWS = 20
FRAME = pd.DataFrame(
    {
        "length": np.linspace(1, 5, ROWS),
        "legs": np.arange(ROWS) % 4,
        "label": [("ant", "bee")[i % 2] for i in range(ROWS)],
    }
)


def write(path: Path, frame: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_numeric_columns_are_features_and_words_are_classes(tmp_path: Path, suffix: str) -> None:
    data = load_data(write(tmp_path / f"insects{suffix}", FRAME), "all")
    assert (data.name, data.task, data.feature_names) == (f"insects{suffix}", "tabular", ("length", "legs"))
    assert data.class_names == ("ant", "bee")
    assert data.labels.tolist() == [0, 1] * (ROWS // 2)
    assert torch.equal(data.inputs, torch.from_numpy(FRAME[["length", "legs"]].to_numpy(np.float32)))  # type: ignore[arg-type]


def test_one_table_is_divided_and_bounds_are_of_its_training_part(tmp_path: Path) -> None:
    path = write(tmp_path / "insects.csv", FRAME)
    train, test = load_data(path, "train"), load_data(path)
    assert (len(train), len(test)) == (16, 4)
    assert train.bounds == test.bounds
    assert train.bounds.upper == tuple(train.inputs.amax(0).tolist())  # type: ignore[union-attr]
    assert sorted([*train.inputs[:, 0].tolist(), *test.inputs[:, 0].tolist()]) == pytest.approx(
        FRAME["length"].tolist()
    )  # type: ignore[call-overload]


def test_a_folder_of_tables_holds_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", FRAME)
    write(tmp_path / "test.csv", FRAME[:3])
    assert len(load_data(tmp_path)) == 3
    assert len(load_data(tmp_path, "train")) == ROWS
    with pytest.raises(InputError, match=r"\(test, train\), got 'all'"):
        load_data(tmp_path, "all")


def test_class_names_are_those_of_all_splits(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", FRAME)
    write(tmp_path / "test.csv", FRAME[1:2])
    test = load_data(tmp_path)
    assert (test.class_names, test.labels.tolist()) == (("ant", "bee"), [1])


def test_integers_are_class_indices_even_where_some_are_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", FRAME.assign(label=[3, 5] * (ROWS // 2)))
    data = load_data(path, "all")
    assert data.labels[:2].tolist() == [3, 5]
    assert data.class_names == ("0", "1", "2", "3", "4", "5")


def test_a_column_of_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"review": ["so, so", 'he said "no"', "two\nlines"], "label": [0, 1, 0]})
    data = load_data(write(tmp_path / "films.csv", frame), "all")
    assert (data.task, data.inputs) == ("text", ("so, so", 'he said "no"', "two\nlines"))


def test_label_column_by_usual_name_first_then_as_told(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [0, 1], "label": [1, 0]})
    path = write(tmp_path / "t.csv", frame)
    assert load_data(path, "all").labels.tolist() == [1, 0]
    told = load_data(f"{path}:y", "all")
    assert (told.labels.tolist(), told.feature_names) == ([0, 1], ("x", "label"))


def test_a_saved_row_index_is_no_feature(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv")
    assert load_data(tmp_path / "t.csv").feature_names == ("length", "legs")


def test_categories_of_pandas_are_words(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", FRAME.astype({"label": "category"}))
    assert load_data(path).class_names == ("ant", "bee")


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop(columns="label"), r"expected a label column \(label, .*\) in t.csv, got columns length, legs"),
        (FRAME[["label"]], "expected inputs beside the label in t.csv, got columns label"),
        (FRAME.assign(city="Rome"), "expected numeric features, or one column of text, in t.csv, got column 'city'"),
        (
            FRAME.assign(legs=[None, *range(1, ROWS)]),
            "expected a number in every row of t.csv, got none in column 'legs'",
        ),
        (FRAME.assign(length=np.inf), "expected finite inputs in t.csv, got NaN or infinity"),
        (FRAME.assign(label=0.5), "expected labels as integers or words in t.csv, got float64"),
        (FRAME.assign(label=[-1, 0] * 10), "expected labels from 0 to 0 in t.csv, got -1"),
        (FRAME.assign(label=10**6), "expected class indices below 100000"),
        (FRAME[:0], r"expected at least one row in .*t\.csv, got an empty table"),
    ],
)
def test_bad_tables_are_answered_in_one_line(tmp_path: Path, frame: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_data(write(tmp_path / "t.csv", frame), "all")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["", "a,label\n1,2,3\n", "a,a,label\n1,2,0\n"])
def test_malformed_csv_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=r"t\.csv"):
        load_data(tmp_path / "t.csv")


def test_text_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("text,label\ncafé,good\nthé,bad\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"expected text in UTF-8 in .*t\.csv, got other bytes in column 'text'"):
        load_data(path)


def test_missing_labels_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", FRAME.assign(label=["ant", None] * (ROWS // 2)))
    with pytest.raises(InputError, match=r"expected a label in every row of t\.parquet, got 10 without one"):
        load_data(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match=r"expected a folder or a file .*\.parquet, \.npz, got t\.pkl"):
        load_data(tmp_path / "t.pkl")
