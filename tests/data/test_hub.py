"""The Hub's layout: from a mirror folder, made here with `datasets` itself, and without a network."""

from __future__ import annotations

import io
import time
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from xaibench.data import load_data
from xaibench.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = [i % 3 for i in range(12)]
CLASSES = ["cat", "dog", "owl"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XAIBENCH_DATA_HOME", str(tmp_path))
    return tmp_path


def save(folder: Path, columns: dict[str, list[object]], kinds: dict[str, object], file: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)).to_parquet(folder / file)


def images(rows: slice) -> dict[str, list[object]]:
    return {"img": [Image.fromarray(pixels) for pixels in PIXELS[rows]], "label": list(LABELS[rows])}


IMAGE_KINDS = {"img": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
TEXT_KINDS = {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])}


def save_animals(home: Path) -> None:
    folder = home / "zoo" / "animals" / "plain"
    save(folder, images(slice(0, 5)), IMAGE_KINDS, "train-00000-of-00002.parquet")
    save(folder, images(slice(5, 8)), IMAGE_KINDS, "train-00001-of-00002.parquet")
    save(folder, images(slice(8, 12)), IMAGE_KINDS, "test-00000-of-00001.parquet")


def test_images_come_through_unchanged(home: Path) -> None:
    save_animals(home)
    train, test = load_data("zoo/animals", "train"), load_data("zoo/animals")
    pixels = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255
    assert torch.equal(train.inputs, pixels[:8])  # type: ignore[arg-type]
    assert torch.equal(test.inputs, pixels[8:])  # type: ignore[arg-type]
    assert (train.labels.tolist(), test.labels.tolist()) == (LABELS[:8], LABELS[8:])
    assert (train.name, train.task, train.class_names) == ("zoo/animals", "image", tuple(CLASSES))


def test_selected_rows_are_those_of_the_whole(home: Path) -> None:
    save_animals(home)
    whole, some = load_data("zoo/animals", "train"), load_data("zoo/animals", "train", n=4, seed=2)
    assert torch.equal(some.inputs, whole.take(some.ids).inputs)  # type: ignore[arg-type]
    assert some.digest == whole.take(some.ids).digest


def test_a_folder_of_the_layout_loads_by_path_and_without_an_owner(home: Path) -> None:
    save_animals(home)
    by_name = load_data("zoo/animals")
    assert load_data(home / "zoo" / "animals").digest == by_name.digest
    (home / "zoo" / "animals").rename(home / "animals")
    assert load_data("animals").digest == by_name.digest


def test_only_the_selected_rows_are_decoded(home: Path) -> None:
    good = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(good, "PNG")
    cells = [{"bytes": good.getvalue(), "path": None}] * 600
    cells[599] = {"bytes": b"not an image", "path": None}
    kinds = {"img": datasets.Image(decode=False), "label": datasets.ClassLabel(names=CLASSES)}
    columns: dict[str, list[object]] = {"img": list(cells), "label": [0] * 600}
    save(home / "zoo" / "broken", columns, kinds, "test-00000-of-00001.parquet")
    assert len(load_data("zoo/broken", n=50, seed=None)) == 50
    with pytest.raises(InputError, match="expected an image in row 599 of zoo/broken"):
        load_data("zoo/broken")


def test_texts(home: Path) -> None:
    columns: dict[str, list[object]] = {"text": ["good", "bad", "fine\n"], "label": [1, 0, 1]}
    save(home / "films" / "words", columns, TEXT_KINDS, "test-00000-of-00001.parquet")
    data = load_data("films/words")
    assert (data.task, data.inputs, data.labels.tolist()) == ("text", ("good", "bad", "fine\n"), [1, 0, 1])
    assert data.class_names == ("neg", "pos")
    assert load_data("films/words", n=2, seed=None).inputs == ("good", "bad")


def test_unlabelled_rows_are_refused(home: Path) -> None:
    save(home / "films" / "words", {"text": ["a", "b"], "label": [0, -1]}, TEXT_KINDS, "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match="expected labels from 0 to 1 in films/words, split test, got -1"):
        load_data("films/words")


def test_a_set_without_labels_is_refused_with_its_columns(home: Path) -> None:
    kinds = {"text": datasets.Value("string"), "score": datasets.Value("float32")}
    save(home / "films" / "scores", {"text": ["a"], "score": [0.5]}, kinds, "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match=r"expected a label column .* in films/scores, got columns text, score"):
        load_data("films/scores")


def test_another_label_column_is_named_after_a_colon(home: Path) -> None:
    kinds = {**TEXT_KINDS, "topic": datasets.ClassLabel(names=["war", "love", "space"])}
    columns: dict[str, list[object]] = {"text": ["a", "b"], "label": [0, 1], "topic": [2, 1]}
    save(home / "films" / "words", columns, kinds, "test-00000-of-00001.parquet")
    assert load_data("films/words").labels.tolist() == [0, 1]
    topics = load_data("films/words:topic")
    assert (topics.labels.tolist(), topics.class_names) == ([2, 1], ("war", "love", "space"))
    with pytest.raises(InputError, match=r"expected a label column \('genre'\) in films/words, got columns text"):
        load_data("films/words:genre")


def test_several_configurations_need_a_choice(home: Path) -> None:
    for config, word in (("en", "good"), ("de", "gut")):
        columns: dict[str, list[object]] = {"text": [word], "label": [1]}
        save(home / "films" / "words" / config, columns, TEXT_KINDS, "test-00000-of-00001.parquet")
    with pytest.raises(InputError, match="expected one configuration in films/words, got de, en"):
        load_data("films/words")
    assert load_data(home / "films" / "words" / "de").inputs == ("gut",)


def test_a_damaged_parquet_file_is_named(home: Path) -> None:
    save_animals(home)
    file = home / "zoo" / "animals" / "plain" / "test-00000-of-00001.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"expected a table in .*test-00000-of-00001.parquet"):
        load_data("zoo/animals")


def test_mirror_is_only_read(home: Path) -> None:
    save_animals(home)
    before = sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*"))
    load_data("zoo/animals")
    assert sorted((path, path.stat().st_mtime_ns) for path in home.rglob("*")) == before


def test_without_mirror_or_network_the_answer_is_quick_and_says_what_to_do(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def refuse(*_: object, **__: object) -> None:
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)
    start = time.monotonic()
    with pytest.raises(InputError) as caught:
        load_data("mnist")
    assert time.monotonic() - start < 5
    assert str(caught.value) == (
        "expected data set 'ylecun/mnist' at $XAIBENCH_DATA_HOME/ylecun/mnist or from the Hugging Face Hub, got "
        "OSError (Name or service not known); with HF_HUB_OFFLINE=1 an earlier download is used"
    )


def test_what_the_hub_gives_is_read_like_a_mirror(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub stood in for by what `datasets.load_dataset` returns for it."""
    import huggingface_hub

    save_animals(home)
    mirrored = load_data("zoo/animals", n=3)
    folder = str(home / "zoo" / "animals")
    cache = str(home / "cache")
    loaded = datasets.load_dataset(folder, cache_dir=cache)
    monkeypatch.setenv("XAIBENCH_DATA_HOME", str(home / "empty"))
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda name: {"zoo/animals": loaded}[name])
    assert load_data("zoo/animals", n=3).digest == mirrored.digest


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "full", "split", "rows", "shape", "per_class"),
    [
        ("mnist", "ylecun/mnist", "test", 10_000, (1, 28, 28), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ("cifar10", "uoft-cs/cifar10", "test", 10_000, (3, 32, 32), [1000] * 10),
        ("imdb", "stanfordnlp/imdb", "train", 25_000, None, [12_500] * 2),
    ],
)
def test_real_sets_are_whole(
    *, name: str, full: str, split: str, rows: int, shape: tuple[int, ...] | None, per_class: list[int]
) -> None:
    data = load_data(name, split)
    assert len(data) == rows
    assert data.labels.bincount().tolist() == per_class
    assert (tuple(data.inputs.shape[1:]) if isinstance(data.inputs, torch.Tensor) else None) == shape
    assert load_data(full, split, n=10).digest == load_data(name, split, n=10).digest
    assert load_data(full, split, n=10).name == name


@pytest.mark.data
def test_mnist_has_its_published_mean_and_deviation() -> None:
    images = load_data("mnist", "train").inputs
    assert isinstance(images, torch.Tensor)
    assert images.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert images.std().item() == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.data
def test_a_sample_of_a_thousand_classes_loads_without_an_owner() -> None:
    data = load_data("imagenet-sample", "validation", n=6)
    assert len(data.class_names) == 1000
    assert data.inputs.shape == (6, 3, 224, 224)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"expected a split of imagenet-sample \(validation\), got 'test'"):
        load_data("imagenet-sample")
