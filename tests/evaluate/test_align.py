"""Classes and features find each other by name, or are refused: never silently mistaken for one another."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import factories
import pytest
import torch
from torch import Tensor, nn

from xaibench.card import ArchitectureConfig, Card, DataConfig
from xaibench.classifiers import TorchClassifier
from xaibench.data import Data, load_data
from xaibench.errors import InputError
from xaibench.evaluate import evaluate_clean
from xaibench.evaluate.align import align
from xaibench.types import Bounds, Classifier

CANCER = load_data("breast-cancer")


def cancer(class_names: Sequence[str] | None = CANCER.class_names) -> Classifier:
    """A model whose card names classes and features as the data set does."""
    assert CANCER.feature_names is not None
    train = load_data("breast-cancer", "train")
    card = Card(
        name="ridge",
        task="tabular",
        framework="torch",
        architecture=ArchitectureConfig(name="linear"),
        input_shape=(30,),
        class_names=CANCER.class_names,
        feature_names=CANCER.feature_names,
        data=DataConfig(name="breast-cancer", digest=""),
    )
    return TorchClassifier(
        factories.linear(train),
        task="tabular",
        bounds=train.bounds,
        input_shape=(30,),
        class_names=None if class_names is None else tuple(class_names),
        card=card,
    )


def write(path: Path, columns: Sequence[str], labels: Sequence[object]) -> Path:
    """The test split as a table with its columns in this order."""
    assert isinstance(CANCER.inputs, Tensor)
    assert CANCER.feature_names is not None
    index = [CANCER.feature_names.index(name) for name in columns]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "label"])
        writer.writerows([*row, label] for row, label in zip(CANCER.inputs[:, index].tolist(), labels, strict=True))
    return path


@pytest.fixture
def words() -> list[str]:
    """Labels of the test split as words, whose order by the alphabet is not that of the model."""
    return [CANCER.class_names[label] for label in CANCER.labels]


def test_labels_in_words_and_columns_in_another_order_change_nothing(tmp_path: Path, words: list[str]) -> None:
    assert CANCER.feature_names is not None
    table = write(tmp_path / "t.csv", tuple(reversed(CANCER.feature_names)), words)
    data = load_data(table, "all")
    assert data.class_names == ("benign", "malignant")
    found = evaluate_clean(cancer(), data)
    assert found == evaluate_clean(cancer(), CANCER)
    assert found["accuracy"] > 0.9


def test_aligned_data_are_those_of_the_model(tmp_path: Path, words: list[str]) -> None:
    assert CANCER.feature_names is not None
    data = load_data(write(tmp_path / "t.csv", tuple(reversed(CANCER.feature_names)), words), "all")
    aligned = align(cancer(), data)
    assert (aligned.class_names, aligned.feature_names) == (CANCER.class_names, CANCER.feature_names)
    assert torch.equal(aligned.labels, CANCER.labels)
    assert torch.equal(torch.as_tensor(aligned.inputs), torch.as_tensor(CANCER.inputs))
    assert aligned.digest == CANCER.digest
    assert tuple(reversed(aligned.bounds.lower)) == data.bounds.lower  # type: ignore[arg-type]
    assert align(cancer(), CANCER) is CANCER


def test_columns_that_the_model_does_not_take_are_left_out(tmp_path: Path, words: list[str]) -> None:
    path = write(tmp_path / "t.csv", CANCER.feature_names or (), words)
    rows = path.read_text().splitlines()
    path.write_text("\n".join(["patient," + rows[0], *(f"{index},{row}" for index, row in enumerate(rows[1:]))]))
    assert evaluate_clean(cancer(), load_data(path, "all")) == evaluate_clean(cancer(), CANCER)


def test_some_of_the_models_classes_are_enough() -> None:
    digits = load_data("digits", n=100)
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    model = TorchClassifier(
        nn.Sequential(nn.Flatten(), factories.linear(load_data("digits", "train"))),
        input_shape=(1, 8, 8),
        class_names=names,
    )
    few = digits.take(digits.labels >= 8)
    few = dataclasses.replace(few, labels=9 - few.labels, class_names=("nine", "eight"))
    found = evaluate_clean(model, few)
    hits = (model.predict(few.inputs) == 9 - few.labels).double().mean()
    assert found["accuracy"] == pytest.approx(float(hits))
    assert found["accuracy"] > 0.5


@pytest.mark.parametrize("unnamed", ["model", "data"])
def test_plain_numbers_match_by_position(unnamed: str) -> None:
    model, data = cancer(None if unnamed == "model" else CANCER.class_names), CANCER
    if unnamed == "data":
        data = dataclasses.replace(data, class_names=("0", "1"), feature_names=tuple(map(str, range(30))))
    assert evaluate_clean(model, data)["accuracy"] == evaluate_clean(cancer(), CANCER)["accuracy"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("ill", "well")}, r"classes that the model knows \(malignant, benign\), got 'ill' .*position"),
        ({"class_names": ("0", "1", "2")}, "the model's 2 classes, got 3"),
        (
            {"feature_names": tuple(f"x{i}" for i in range(30))},
            r"a column 'mean radius', as the model has, got x0, .*, x9 and 20 more",
        ),
    ],
)
def test_other_names_are_refused(change: dict[str, tuple[str, ...]], message: str) -> None:
    data: Data = dataclasses.replace(CANCER, **change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        evaluate_clean(cancer(), data)


def test_another_task_is_refused() -> None:
    digits = load_data("digits", n=5)
    with pytest.raises(InputError, match="expected tabular data"):
        align(cancer(), digits)
    with pytest.raises(InputError, match="expected image data"):
        align(factories.digits(), CANCER)


def test_a_table_outside_a_models_box_is_refused() -> None:
    unbounded = TorchClassifier(nn.Linear(30, 2), task="tabular", input_shape=(30,))
    with pytest.raises(InputError, match=r"% of the values of breast-cancer outside: .*per feature.*--bounds=-10,10"):
        align(unbounded, CANCER)
    with pytest.raises(InputError, match=r"outside: .*the units that it was trained on"):
        align(cancer(), dataclasses.replace(CANCER, inputs=torch.as_tensor(CANCER.inputs) * 10))


def with_odd_rows(rows: int, odd: int) -> Data:
    """The first rows, of which so many lie outside their bounds altogether."""
    inputs = torch.as_tensor(CANCER.inputs)[:rows].clone()
    inputs[:odd] += 1e5
    return dataclasses.replace(CANCER.take(range(rows)), inputs=inputs)


def of_other_data() -> Classifier:
    """A model whose bounds are nearly those of the data, but from elsewhere."""
    low, high = CANCER.bounds.tensors(torch.zeros(30))
    bounds = Bounds(tuple(low.tolist()), tuple((high + 1).tolist()))
    return TorchClassifier(nn.Linear(30, 2), task="tabular", bounds=bounds, input_shape=(30,))


def test_an_unusual_row_among_a_few_is_no_reason_to_refuse_them() -> None:
    assert len(align(of_other_data(), with_odd_rows(4, 1))) == 4
    for rows, odd in ((4, 3), (100, 25)):
        with pytest.raises(InputError, match=f"got {odd / rows:.0%} of the values"):
            align(of_other_data(), with_odd_rows(rows, odd))


def test_a_small_table_reaches_beyond_its_own_few_training_rows() -> None:
    assert len(align(cancer(), with_odd_rows(100, 25))) == 100
    with pytest.raises(InputError, match="got 75% of the values"):
        align(cancer(), with_odd_rows(100, 75))


@pytest.mark.parametrize("rows", [4, 100])
def test_pixels_in_other_units_are_refused_however_few(rows: int) -> None:
    digits = load_data("digits", n=rows)
    some = torch.as_tensor(digits.inputs).clone()
    some[:, :, 3:5] *= 255
    with pytest.raises(InputError, match=r"% of the values of digits outside"):
        align(factories.digits(), dataclasses.replace(digits, inputs=some))
