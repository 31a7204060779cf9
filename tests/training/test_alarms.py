"""Alarms on overfitting: their definitions on made-up histories, and real runs that raise them or do not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from xaibench.card import Card
from xaibench.data import load_data
from xaibench.training import Recipe, train
from xaibench.training.alarms import (
    CATASTROPHIC,
    ROBUST,
    EpochScores,
    is_better,
    overfitting,
    robust_overfitting,
    scores_of,
    since_rewinding,
)


def epochs(attacked: list[float], robust: list[float], n: int = 500) -> list[EpochScores]:
    return [EpochScores(k + 1, a, r, n) for k, (a, r) in enumerate(zip(attacked, robust, strict=True))]


@pytest.mark.parametrize(
    ("attacked", "robust", "expected"),
    [
        ([0.3, 0.5, 0.6, 0.7], [0.3, 0.45, 0.5, 0.5], None),
        ([0.3, 0.5, 0.9], [0.3, 0.45, 0.0], CATASTROPHIC),
        ([0.3, 0.5, 0.9], [0.3, 0.45, 0.21], None),  # 0.21 of 500 rows may be 0.248, more than half of 0.45
        ([0.3, 0.5, 0.9], [0.3, 0.45, 0.18], CATASTROPHIC),
        ([0.3, 0.5, 0.2], [0.3, 0.45, 0.0], None),  # both fall: training broke down, which is another matter
        ([0.9], [0.0], None),
        ([0.9, 0.95], [0.0, 0.0], CATASTROPHIC),  # never robust: there is no fall to see
        ([0.3, 0.4], [0.0, 0.0], None),  # it has not learned its own attack either
        ([0.9, 0.95], [0.3, 0.3], None),  # a third of its own accuracy is not blindness
        ([0.4, 0.5, 0.6, 0.6, 0.7, 0.8], [0.5, 0.5, 0.5, 0.43, 0.43, 0.43], ROBUST),
        ([0.4, 0.5, 0.6, 0.6, 0.7, 0.8], [0.46, 0.54, 0.5, 0.43, 0.43, 0.43], ROBUST),  # the mean of three is 0.5
        ([0.4, 0.5, 0.6, 0.6, 0.7, 0.8], [0.5, 0.5, 0.5, 0.45, 0.43, 0.43], None),  # the first is within 6.3 points
        ([0.4, 0.5, 0.6, 0.6, 0.7, 0.8], [0.4, 0.6, 0.4, 0.43, 0.43, 0.43], None),  # one lucky epoch
        ([0.8, 0.8, 0.8, 0.6, 0.7, 0.8], [0.5, 0.5, 0.5, 0.43, 0.43, 0.43], None),  # accuracy in training did not rise
        ([0.4, 0.5, 0.6, 0.7, 0.8], [0.5, 0.5, 0.43, 0.43, 0.43], None),  # two are no mean of three
        ([], [], None),
    ],
)
def test_alarms_are_as_defined(attacked: list[float], robust: list[float], expected: str | None) -> None:
    assert overfitting(epochs(attacked, robust)) == expected


def test_a_fall_must_exceed_the_sampling_error_of_the_probe() -> None:
    attacked, robust = [0.4, 0.5, 0.6, 0.6, 0.7, 0.8], [0.5, 0.5, 0.5, 0.43, 0.43, 0.43]
    # Two standard errors of a difference of shares of 0.5 and 0.43 are 0.07 at n = 406.
    assert robust_overfitting(epochs(attacked, robust, n=450))
    assert not robust_overfitting(epochs(attacked, robust, n=350))


def test_probes_of_few_rows_raise_no_alarm() -> None:
    for n, expected in ((99, None), (100, CATASTROPHIC)):
        assert overfitting(epochs([0.9, 0.95], [0.0, 0.0], n=n)) == expected
    falling = [0.4, 0.5, 0.6, 0.6, 0.7, 0.8], [0.8, 0.8, 0.8, 0.2, 0.2, 0.2]
    for n, raised in ((99, False), (100, True)):
        assert robust_overfitting(epochs(*falling, n=n)) == raised


@pytest.mark.parametrize(("attacked", "share", "n"), [(0.9, 0.25, 100), (0.9, 0.5, 144), (0.7, 0.5, 512)])
def test_a_plateau_raises_an_alarm_in_about_one_of_a_hundred_runs(attacked: float, share: float, n: int) -> None:
    """Forty epochs whose robust accuracy stays the same, probed with independent errors, while training goes on.

    Over 20,000 such runs the share is 1.3 % for the first of these cases and 0.9 % for the others.
    """
    runs, length = 300, 40
    drawn = torch.distributions.Binomial(n, torch.full((runs, length), share))
    torch.manual_seed(0)
    found = (drawn.sample() / n).tolist()
    rising = [attacked + 0.001 * epoch for epoch in range(length)]
    false = 0
    for robust in found:
        scores = epochs(rising, robust, n)
        false += any(overfitting(scores[: end + 1]) for end in range(length))
    assert false / runs < 0.03


def test_there_is_something_to_go_back_to_only_where_an_epoch_saw_the_attack() -> None:
    def pair(best: float, last: float) -> bool:
        return is_better(EpochScores(1, 0.9, best, 500), EpochScores(2, 0.9, last, 500))

    assert pair(0.4, 0.0)
    assert not pair(0.0, 0.0)
    assert not pair(0.42, 0.4)
    assert not pair(0.05, 0.0)  # more than chance, but as blind


def test_epochs_that_were_undone_do_not_count() -> None:
    history: list[dict[str, Any]] = [{"epoch": 1}, {"epoch": 2}, {"epoch": 3, "rewound_to": 1}, {"epoch": 4}]
    assert [line["epoch"] for line in since_rewinding(history)] == [1, 4]
    again = [*history, {"epoch": 5, "rewound_to": 4}, {"epoch": 6}]
    assert [line["epoch"] for line in since_rewinding(again)] == [1, 4, 6]


def test_epochs_of_the_radius_warmup_and_without_a_probe_do_not_count() -> None:
    probed = {"accuracy": 0.5, "validation_robust_accuracy": 0.25, "probed": 40}
    history = [{"epoch": 1, **probed}, {"epoch": 2, "accuracy": 0.5}, {"epoch": 3, **probed}]
    assert scores_of(history, warm=1.0) == [EpochScores(3, 0.5, 0.25, 40)]


def small(**changes: Any) -> Recipe:
    values = {
        "name": "tiny",
        "data": "digits",
        "architecture": {"name": "small_cnn", "params": {"width": 8, "hidden": 32, "dropout": 0.0}},
        "batch_size": 64,
        "validation": 0.3,
        "optimizer": {"learning_rate": 5e-3},
        "probe": {"samples": 100, "attack": "pgd:steps=10"},
    }
    return Recipe.of(values | changes)


def test_training_on_one_step_without_a_random_start_raises_the_alarm_and_pgd_does_not(tmp_path: Path) -> None:
    one_step = {"name": "pgd_at", "params": {"steps": 1, "step_size": 0.3, "random_start": False}}
    probe = {"samples": 100, "attack": "pgd:steps=10", "on_overfitting": "stop"}
    plan = small(objective=one_step, threat={"norm": "linf", "eps": 0.3}, epochs=8, probe=probe)
    history = Card.read(train(plan, out=tmp_path / "one") / "config.json").history
    assert history[-1]["alarm"] == CATASTROPHIC
    assert len(history) < 8
    assert history[-1]["accuracy"] > 0.5
    assert history[-1]["validation_robust_accuracy"] < 0.1
    several = {"name": "pgd_at", "params": {"steps": 3}}
    plan = small(objective=several, threat={"norm": "linf", "eps": 0.1}, epochs=4)
    history = Card.read(train(plan, out=tmp_path / "several") / "config.json").history
    assert not any("alarm" in line for line in history)
    assert history[-1]["validation_robust_accuracy"] > 0.3


def test_memorised_noise_raises_the_alarm_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    rows = load_data("digits", "train")
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(len(rows), generator=generator) < 0.4
    random = torch.randint(0, 10, (len(rows),), generator=generator)
    noisy = dataclasses.replace(rows, labels=torch.where(wrong, random, rows.labels))
    plan = small(
        architecture={"name": "small_cnn", "params": {"width": 16, "hidden": 128, "dropout": 0.0}},
        objective={"name": "pgd_at", "params": {"steps": 1, "step_size": 1.0}},
        threat={"norm": "linf", "eps": 0.02},
        probe={"samples": 1000, "attack": "fgsm", "every": 3, "on_overfitting": "stop"},
        optimizer={"learning_rate": 1e-2},
        epochs=60,
        batch_size=50,
        validation=0.8,
    )
    history = Card.read(train(plan, noisy, out=tmp_path / "m") / "config.json").history
    assert history[-1]["alarm"] == ROBUST
    assert history[-1]["epoch"] < 60
    robust = [line["validation_robust_accuracy"] for line in history if "probed" in line]
    assert max(robust) - robust[-1] > 0.06
