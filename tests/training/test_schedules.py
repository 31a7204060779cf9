from __future__ import annotations

import math

import pytest
import torch

from xaibench.rng import SampleRng
from xaibench.training.augment import augment
from xaibench.training.recipe import Augmentation, Schedule
from xaibench.training.schedules import rate


def test_cosine_is_half_a_period_after_a_linear_warmup() -> None:
    schedule = Schedule(name="cosine", warmup=0.2)
    rates = [rate(schedule, step, 100) for step in range(100)]
    assert rates[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert rates[20:] == pytest.approx([0.5 * (1 + math.cos(math.pi * k / 80)) for k in range(80)])


def test_linear_falls_to_zero_and_steps_multiply() -> None:
    assert rate(Schedule(name="linear"), 75, 100) == pytest.approx(0.25)
    steps = Schedule(name="piecewise", milestones=(0.5, 0.75), factor=0.1)
    assert [rate(steps, step, 4) for step in range(4)] == pytest.approx([1, 1, 0.1, 0.01])


def test_a_sample_is_augmented_the_same_way_in_any_batch() -> None:
    x, ids = torch.rand(6, 3, 8, 8), torch.arange(6)
    config = Augmentation(flip=True, shift=2)
    whole = augment(x, config, SampleRng(ids, 0, "augmentation"), epoch=3)
    order = torch.tensor([4, 1])
    part = augment(x[order], config, SampleRng(ids[order], 0, "augmentation"), epoch=3)
    assert torch.equal(part, whole[order])
    assert not torch.equal(whole, augment(x, config, SampleRng(ids, 0, "augmentation"), epoch=4))


def test_shifts_cover_the_range_evenly_and_flips_happen_half_the_time() -> None:
    n, reach = 4000, 2
    # One bright pixel in the middle of 9x9 shows where each image went; a flip leaves the middle column there.
    x = torch.zeros(n, 1, 9, 9)
    x[:, :, 4, 4] = 1
    moved = augment(x, Augmentation(shift=reach), SampleRng(torch.arange(n)), epoch=0)
    where = moved.flatten(1).argmax(1)
    rows, columns = where // 9 - 4, where % 9 - 4
    for offsets in (rows, columns):
        counts = torch.stack([(offsets == k).sum() for k in range(-reach, reach + 1)])
        assert int(counts.sum()) == n
        assert float((counts - n / 5).abs().max()) < 5 * math.sqrt(n * 0.2 * 0.8)
    edge = torch.zeros(n, 1, 4, 4)
    edge[..., 0] = 1
    flipped = augment(edge, Augmentation(flip=True), SampleRng(torch.arange(n)), epoch=0)[:, 0, 0, 3].sum()
    assert abs(float(flipped) - n / 2) < 5 * math.sqrt(n / 4)
