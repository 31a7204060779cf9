"""Rotations and translations: the threat against closed forms and Foolbox, and the search through it."""

from __future__ import annotations

import pytest
import torch
from small_models import inputs_for, table_mlp, torch_cnn
from torch import nn

from xaibench.attacks import PGD, attacks
from xaibench.classifiers import TorchClassifier
from xaibench.errors import InputError, UnsupportedError
from xaibench.rng import SampleRng
from xaibench.threats import Linf, Motion, Spatial, as_dict, contains, threat
from xaibench.types import Bounds

UNIT = Bounds(0.0, 1.0)


def test_a_shift_by_whole_pixels_moves_them() -> None:
    x = torch.rand(3, 2, 6, 10)
    moved = Spatial().apply(Motion(1.0, 0.0, 2 / 10, -1 / 6), x)
    expected = nn.functional.pad(x, (2, 0, 0, 1), mode="replicate")[:, :, 1:, :10]
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


def test_a_quarter_turn_is_exact() -> None:
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(Spatial().apply(Motion(1.0, 90.0, 0.0, 0.0), x), x.rot90(1, (2, 3)), rtol=0, atol=1e-5)
    wide = torch.zeros(1, 1, 5, 9)
    wide[0, 0, 2, 6] = 1.0
    turned = Spatial().apply(Motion(1.0, 90.0, 0.0, 0.0), wide)
    assert turned[0, 0, 0, 4] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_motions_agree_with_foolbox() -> None:
    import eagerpy as ep
    from foolbox.attacks.spatial_attack_transformations import rotate_and_shift

    x = torch.rand(2, 3, 9, 9)
    theirs = rotate_and_shift(ep.astensor(x), translation=(0.0, 0.0), rotation=20.0).raw
    ours = Spatial().apply(Motion(1.0, 20.0, 0.0, 0.0), x)
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(ours[inside], theirs[inside], rtol=0, atol=1e-4)


def test_larger_budgets_hold_the_motions_of_smaller_ones() -> None:
    everything, half = Spatial().motions, Spatial(0.5).motions
    assert len(everything) == 9 * 7 * 7 - 1
    assert set(half) == {motion for motion in everything if motion.size <= 0.5}
    assert list(everything) == sorted(everything)
    assert len(Spatial(rotation=0.0).motions) == 48
    assert len(Spatial(translation=0.0).motions) == 8


def test_only_motions_are_contained_and_their_size_is_known() -> None:
    x = torch.rand(5, 1, 8, 8)
    ball = Spatial(0.5)
    motion = next(each for each in Spatial().motions if each.size == 0.75)
    small = next(each for each in ball.motions if each.size == 0.5)
    candidates = torch.cat(
        [
            x[:1],
            ball.apply(small, x[1:2]),
            ball.apply(motion, x[2:3]),
            ball.apply(small, x[3:4]) + 1e-3,
            ball.apply(small, x[0:1]),
        ]
    ).clamp(0, 1)
    assert contains(ball, candidates, x, UNIT).tolist() == [True, True, False, False, False]
    assert Spatial().distance(candidates, x)[:2].tolist() == [0.0, 0.5]
    kept = ball.project(candidates, x, UNIT)
    assert torch.equal(kept[2:], x[2:])
    assert torch.equal(kept[:2], candidates[:2])
    drawn = ball.sample(SampleRng(torch.arange(5), seed=1, stream="test"), x, UNIT)
    assert bool(contains(ball, drawn, x, UNIT).all())
    assert bool((drawn != x).flatten(1).any(dim=1).all())


def test_the_search_finds_exactly_what_some_motion_breaks() -> None:
    model = torch_cnn()
    x = inputs_for(model, 20)
    y = model.predict(x)
    y[0] = (y[0] + 1) % 4
    last = torch.zeros(20, dtype=torch.bool)
    for eps in (0.25, 0.5, 1.0):
        ball = Spatial(eps)
        found = attacks.create("spatial:batch_size=7")(model, x, y, ball)
        moved = (found != x).flatten(1).any(dim=1)
        possible = torch.stack([model.predict(ball.apply(motion, x)) != y for motion in ball.motions]).any(dim=0)
        possible[0] = False
        assert torch.equal(moved, possible)
        assert torch.equal(model.predict(found) != y, moved | (torch.arange(20) == 0))
        assert bool((moved | ~last).all())
        last = moved
    assert int(last.sum()) > 5


def test_a_spatial_threat_survives_json_and_refuses_what_it_is_not_for() -> None:
    ball = Spatial(0.5, rotation=15.0)
    assert threat(**as_dict(ball)) == ball
    for arguments in ({"eps": 0.0}, {"eps": 1.5}, {"rotation": 200.0}, {"rotation": 0.0, "translation": 0.0}):
        with pytest.raises(InputError, match="expected"):
            Spatial(**arguments)
    model = torch_cnn()
    x = inputs_for(model, 2)
    with pytest.raises(UnsupportedError, match="spatial expected a threat of rotations and translations, got linf"):
        attacks.create("spatial")(model, x, model.predict(x), Linf(0.1))
    with pytest.raises(UnsupportedError, match="have no gradient steps: expected the attack spatial"):
        PGD()(model, x, model.predict(x), ball)
    table = table_mlp()
    rows = inputs_for(table, 2)
    with pytest.raises(UnsupportedError, match="does not exist for task 'tabular'"):
        attacks.create("spatial")(table, rows, table.predict(rows), ball)
    flat = TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), input_shape=(2, 2))
    with pytest.raises(InputError, match=r"expected images for a spatial threat, got inputs of shape \(2, 2\)"):
        attacks.create("spatial")(flat, torch.rand(2, 2, 2), torch.tensor([0, 1]), ball)
