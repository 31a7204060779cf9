"""Images in folders by class: every mode of image ends as the same kind of tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xaibench.data import load_data
from xaibench.errors import InputError

RNG = np.random.default_rng(0)


def colour(side: int = 6) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (side, side, 3), dtype=np.uint8))


def fill(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 5) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            colour().save(folder / name / f"{index}.png")


def pixels(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1) / 255


def test_classes_are_folder_names_and_rows_are_in_order(tmp_path: Path) -> None:
    fill(tmp_path / "pets")
    data = load_data(tmp_path / "pets", "all")
    paths = sorted((tmp_path / "pets").rglob("*.png"))
    assert (data.name, data.class_names, data.labels.tolist()) == ("pets", ("cat", "dog"), [0] * 5 + [1] * 5)
    assert torch.equal(data.inputs, torch.stack([pixels(path) for path in paths]))  # type: ignore[arg-type]


def test_a_folder_without_splits_is_divided(tmp_path: Path) -> None:
    fill(tmp_path)
    train, test = load_data(tmp_path, "train"), load_data(tmp_path)
    assert train.labels.bincount().tolist() == [4, 4]
    assert test.labels.bincount().tolist() == [1, 1]
    seen = {image.numpy().tobytes() for image in train.inputs}  # type: ignore[union-attr]
    assert not any(image.numpy().tobytes() in seen for image in test.inputs)  # type: ignore[union-attr]


def test_split_folders_are_kept_and_classes_are_shared(tmp_path: Path) -> None:
    fill(tmp_path / "train", ("cat", "dog", "owl"))
    fill(tmp_path / "val", ("dog", "owl"), count=2)
    data = load_data(tmp_path, "validation")
    assert data.class_names == ("cat", "dog", "owl")
    assert data.labels.tolist() == [1, 1, 2, 2]
    with pytest.raises(InputError, match=r"\(train, validation\), got 'test'"):
        load_data(tmp_path)


def save_modes(folder: Path) -> dict[str, torch.Tensor]:
    """One picture in many modes; what each must come out as, (3, 4, 4)."""
    base = colour(4)
    folder.mkdir()
    opaque = base.convert("RGBA")
    clear = base.convert("RGBA")
    clear.putalpha(0)
    palette = base.quantize(8)
    grey = base.convert("L")
    wide = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    pictures = {"a": base, "b": opaque, "c": clear, "d": palette, "e": grey, "f": wide, "g": base.convert("1")}
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")

    def tensor(picture: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(picture.convert("RGB")).copy()).permute(2, 0, 1) / 255

    white = torch.ones(3, 4, 4)
    return {name: white if name == "c" else tensor(grey if name == "f" else p) for name, p in pictures.items()}


def test_modes_come_to_one_number_of_channels(tmp_path: Path) -> None:
    expected = save_modes(tmp_path / "one")
    fill_one = tmp_path / "two"
    fill_one.mkdir()
    colour(4).save(fill_one / "x.png")
    data = load_data(tmp_path, "all")
    assert torch.equal(data.inputs[:7], torch.stack(list(expected.values())))  # type: ignore[arg-type]


def test_greyscale_stays_one_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((3, 4), 51, np.uint8)).save(tmp_path / name / "0.png")
        Image.fromarray(np.full((3, 4), 51 * 257, np.uint16)).save(tmp_path / name / "1.png")
    inputs = load_data(tmp_path, "all").inputs
    assert isinstance(inputs, torch.Tensor)
    assert torch.equal(inputs, torch.full((4, 1, 3, 4), 0.2))


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    shape = np.zeros((8, 16, 3), np.uint8)
    shape[:, :8] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(shape).save(tmp_path / name / "0.jpg", exif=exif)
    inputs = load_data(tmp_path, "all").inputs
    assert isinstance(inputs, torch.Tensor)
    assert inputs.shape == (2, 3, 16, 8)
    assert inputs[:, :, :6].min() > 0.9, "orientation 6 turns the left edge to the top"


def test_sizes_must_agree(tmp_path: Path) -> None:
    fill(tmp_path)
    colour(7).save(tmp_path / "dog" / "9.png")
    with pytest.raises(InputError, match=r"expected images of one size, got 6x6 \(.*0.png\) and 7x7 \(.*9.png\)"):
        load_data(tmp_path, "all")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read as one"), (b"text", "cannot be read as one"), (None, "breaks off or is damaged")],
)
def test_an_unreadable_image_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    fill(tmp_path)
    broken = tmp_path / "dog" / "4.png"
    broken.write_bytes(broken.read_bytes()[:-60] if content is None else content)
    with pytest.raises(InputError, match=rf"4.png, got .*{message}") as caught:
        load_data(tmp_path, "all")
    assert "\n" not in str(caught.value)


def test_a_folder_of_nothing_useful_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected tables or folders of images"):
        load_data(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(InputError, match="expected images in the folders below"):
        load_data(tmp_path)


def test_a_folder_of_images_has_no_label_column(tmp_path: Path) -> None:
    fill(tmp_path / "pets")
    with pytest.raises(InputError, match="a label column after a table only, got pets:kind"):
        load_data(f"{tmp_path / 'pets'}:kind")


def test_a_folder_too_small_for_a_test_split_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / name / "1.png")
    with pytest.raises(InputError, match="too few rows of each class for a test split"):
        load_data(tmp_path)
    assert len(load_data(tmp_path, "all")) == 2
