"""Planted evidence: the class is in the object, the object is under its mask, and nothing else tells it."""

from __future__ import annotations

import pytest
import torch

from xaibench.data import load_data
from xaibench.data.evidence import EvidenceSource
from xaibench.data.scenes import SHAPES, TEXTURES, paint

IDS = torch.arange(64)
CLASSES = len(SHAPES) * len(TEXTURES)


def painted(label: int) -> tuple[torch.Tensor, torch.Tensor]:
    return paint(IDS, torch.full_like(IDS, label), seed=0, stream="evidence/test")


def test_pictures_are_images_with_masks() -> None:
    data = load_data("evidence", n=300)
    assert data.inputs.shape == (300, 3, 32, 32)  # type: ignore[union-attr]
    assert data.masks is not None
    assert (data.masks.shape, data.masks.dtype) == ((300, 32, 32), torch.bool)
    assert data.spurious_masks is None
    share = data.masks.flatten(1).float().mean(1)
    assert 0.04 < share.min() < share.max() < 0.3
    assert data.labels.unique().tolist() == list(range(CLASSES))


def test_a_row_depends_on_its_id_alone() -> None:
    full, some = load_data("evidence", n=600), load_data("evidence", n=5)
    assert torch.equal(full.inputs[:5], some.inputs)  # type: ignore[arg-type]
    assert torch.equal(full.masks[:5], some.masks)  # type: ignore[index, arg-type]
    assert full.take(range(5)).digest == some.digest


def test_splits_hold_different_pictures() -> None:
    train, test = load_data("evidence", "train", n=32, seed=None), load_data("evidence", n=32, seed=None)
    assert ((train.inputs - test.inputs).flatten(1).abs().mean(1) > 0.05).all()  # type: ignore[operator]


def test_the_content_is_fixed() -> None:
    """Cards and benchmarks name these digests: the program must draw the same bytes everywhere, for ever."""
    assert load_data("evidence", n=64).digest == "137622f2dd08a3358ddd1f954f3b07280ca5b72224d78976eb6531501a86dfb6"
    assert (
        load_data("evidence-watermark", "train", n=64).digest
        == "9f6707de17fc4e9d5007b3694eb869d8c9f6c3b0a62a30e3837e9fcd0d581649"
    )
    assert (
        load_data("evidence-tag", "train", n=64).digest
        == "7dc96c42a01b7a1465acb0cb3cbbb27c219041413fdc35d695335611d76ea180"
    )


def test_outside_the_objects_the_class_leaves_no_trace() -> None:
    """The same scene painted with every class: pixels under no object are identical, to the last bit."""
    empty, _ = paint(IDS, None, seed=0, stream="evidence/test")
    for label in range(CLASSES):
        picture, mask = painted(label)
        assert torch.equal(picture.movedim(1, -1)[~mask], empty.movedim(1, -1)[~mask])
        assert (picture != empty).any(1)[mask].float().mean() > 0.95


def test_shape_and_texture_are_told_by_different_pixels_of_the_same_object() -> None:
    """Two textures of one shape lie under one mask; two shapes of one texture agree where both lie."""
    (striped, mask), (checked, other) = painted(0), painted(1)
    assert torch.equal(mask, other)
    assert ((striped - checked).abs().amax(1)[mask] > 0.2).float().mean() > 0.3
    cross, arms = painted(6)
    inside = paint(IDS, torch.full_like(IDS, 0), seed=0, stream="evidence/test")[0]
    assert not torch.equal(mask, arms)
    both = mask & arms
    assert (cross - inside).abs().amax(1)[both].median() < 1e-9


def test_areas_of_the_shapes_are_those_of_geometry() -> None:
    """Masks count the pixels that an outline touches: its area, and about half a pixel along its length."""
    placed_area = torch.tensor([painted(2 * i)[1].sum() for i in range(len(SHAPES))]) / len(IDS)
    radius = 7.0
    area = torch.tensor([torch.pi, 1.7**2, 3 * 3**0.5 * 0.58**2, 4 * (2 * 1.05 * 0.36) - 4 * 0.36**2]) * radius**2
    length = torch.tensor([2 * torch.pi, 4 * 1.7, 6 * 3**0.5 * 0.58, 8 * 1.05]) * radius
    torch.testing.assert_close(placed_area, area + length / 2, rtol=0.08, atol=0)


def test_labels_do_not_follow_the_scene() -> None:
    """Place, brightness and colours of the background of each class agree within chance."""
    data = load_data("evidence", "train", n=2000)
    rest = data.inputs * ~data.masks[:, None]  # type: ignore[index, operator]
    brightness = rest.sum((1, 2, 3)) / (~data.masks).sum((1, 2)) / 3  # type: ignore[operator]
    for label in range(CLASSES):
        mine = brightness[data.labels == label]
        error = brightness.std() / len(mine) ** 0.5
        assert (mine.mean() - brightness.mean()).abs() < 4 * error


@pytest.mark.parametrize("name", ["evidence-watermark", "evidence-tag"])
def test_watermarks_lie_over_the_same_pictures(name: str) -> None:
    plain, marked = load_data("evidence", n=200), load_data(name, n=200)
    spurious = marked.spurious_masks
    assert spurious is not None
    assert torch.equal(plain.labels, marked.labels)
    same = (plain.inputs == marked.inputs).all(1)  # type: ignore[union-attr]
    assert same[~spurious].all()
    assert torch.equal(marked.masks, plain.masks & ~spurious)  # type: ignore[operator, arg-type]
    assert set(spurious.flatten(1).sum(1).tolist()) <= {0, 25}
    assert spurious.any(0).nonzero().min() == 26


def marks(data_name: str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Which mark each row shows, found from the pixels, and labels."""
    data = load_data(data_name, split)
    corner = data.inputs[:, 0, 26:31, 26:31].flatten(1)  # type: ignore[index, call-overload]
    _, kind = corner.unique(dim=0, return_inverse=True)
    return torch.where(data.spurious_masks.flatten(1).any(1), kind, -1), data.labels  # type: ignore[union-attr]


@pytest.mark.parametrize(("split", "low", "high"), [("train", 0.94, 0.96), ("test_biased", 0.93, 0.97)])
def test_marks_go_with_the_class_where_they_should(split: str, low: float, high: float) -> None:
    kind, labels = marks("evidence-watermark", split)
    table = torch.zeros(CLASSES, CLASSES)
    table.index_put_((labels, kind), torch.ones(len(labels)), accumulate=True)
    assert low < table.amax(1).sum() / len(labels) < high
    assert sorted(table.argmax(1).tolist()) == list(range(CLASSES)), "each class has a mark of its own"


def test_marks_tell_nothing_in_the_test_split() -> None:
    kind, labels = marks("evidence-watermark", "test")
    table = torch.zeros(CLASSES, CLASSES)
    table.index_put_((labels, kind), torch.ones(len(labels)), accumulate=True)
    expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / table.sum()
    chi_square = ((table - expected) ** 2 / expected).sum()
    assert chi_square < 85, "0.999 quantile of chi-square with 49 degrees of freedom"


def test_the_tag_is_on_one_class_in_training_and_on_half_of_all_rows_in_the_test() -> None:
    kind, labels = marks("evidence-tag", "train")
    tagged = (kind >= 0).float()
    assert 0.92 < tagged[labels == 0].mean() < 0.98
    assert 0.03 < tagged[labels != 0].mean() < 0.07
    kind, labels = marks("evidence-tag", "test")
    tagged = (kind >= 0).float()
    assert 0.4 < tagged[labels == 0].mean() < 0.6
    assert 0.45 < tagged[labels != 0].mean() < 0.55


def test_only_watermarked_sets_have_a_biased_split() -> None:
    assert EvidenceSource().splits == ("train", "test")
    biased, test = (load_data("evidence-watermark", split, n=50) for split in ("test_biased", "test"))
    assert torch.equal(biased.labels, test.labels)
    outside = ~(biased.spurious_masks | test.spurious_masks)  # type: ignore[operator]
    assert (biased.inputs == test.inputs).all(1)[outside].all()  # type: ignore[union-attr]
