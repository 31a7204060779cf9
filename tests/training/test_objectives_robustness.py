"""What objectives are for: each makes a small net withstand what breaks the same net trained without it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xaibench.attacks import attacks
from xaibench.certify import Smoothing
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.rng import derive_seed, permutation
from xaibench.threats import Linf
from xaibench.training import train
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import Measuring, Replaying, objectives
from xaibench.training.recipe import Recipe
from xaibench.training.threat import TrainingThreat
from xaibench.training.torch_learner import TorchLearner

RECIPE = Recipe.of({"name": "tiny", "data": "digits", "architecture": {"name": "mlp"}, "optimizer": {"name": "adam"}})
EPS, EPOCHS, BATCH = 0.15, 10, 128


def rows(split: str) -> tuple[Tensor, Tensor]:
    data = load_data("digits", split)
    assert isinstance(data.inputs, Tensor)
    return data.inputs, data.labels


@cache
def trained(spec: str) -> TorchLearner:
    """A net of one hidden layer after a few epochs of the digits, the same initial weights for every objective."""
    objective = objectives.create(spec)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    learner = TorchLearner(module, RECIPE, Normalisation())
    x, y = rows("train")
    growing, replays = TrainingThreat(Linf, eps=EPS, warmup=0.2), 1
    if isinstance(objective, Replaying):
        replays = objective.replays
    steps = [part for epoch in range(EPOCHS) for part in permutation(len(x), "order", epoch).split(BATCH)]
    for step, part in enumerate(steps):
        progress = (step + 1) / len(steps)
        for replay in range(replays):
            learner.step(
                [(x[part], y[part])],
                objective,
                rate=4e-3,
                seed=derive_seed(step, replay),
                progress=progress,
                threat=growing.at(progress),
            )
    return learner


def accuracies(spec: str) -> tuple[float, float]:
    """On test digits: clean, and under projected gradient ascent in the ball."""
    model, (x, y) = trained(spec).classifier, rows("test")
    broken = attacks.create("pgd:steps=20")(model, x, y, Linf(EPS))
    clean, robust = ((model.predict(points) == y).double().mean() for points in (x, broken))
    return float(clean), float(robust)


@pytest.mark.parametrize(
    ("spec", "robust"),
    [
        ("pgd_at:steps=3", 0.5),
        ("trades:steps=3", 0.52),
        ("mart:steps=3", 0.52),
        ("awp:objective=pgd_at:steps=3", 0.5),
        ("fgsm_rs", 0.48),
        ("n_fgsm", 0.48),
        ("grad_align", 0.48),
        ("free:replays=4", 0.54),
        ("epsilon_ensemble:objective=pgd_at:steps=3", 0.45),
        ("adversarial:attack=fgsm", 0.43),
        ("input_gradient_penalty:weight=1", 0.38),
    ],
)
def test_training_makes_a_net_robust(spec: str, robust: float) -> None:
    assert accuracies("standard")[1] < 0.25
    clean, found = accuracies(spec)
    assert clean > 0.85
    assert found > robust


def test_noise_in_training_is_what_smoothing_needs() -> None:
    x, y = rows("test")
    smoothing = Smoothing(sigma=0.25, n=500)
    plain, noisy = (
        float(smoothing(trained(spec).classifier, x[:60]).certified(y[:60], 0.5).double().mean())
        for spec in ("standard", "gaussian_noise:sigma=0.25")
    )
    assert noisy > plain + 0.1


def test_a_model_trained_on_noise_is_measured_as_the_smoothed_one() -> None:
    spec, data = "gaussian_noise:sigma=0.25", load_data("digits", "test")
    objective, model, (x, y) = objectives.create(spec), trained(spec).classifier, rows("test")
    assert isinstance(objective, Measuring)
    found = Smoothing(sigma=0.25, n=1000)(model, x[:100])
    right = [int(a) == int(b) for a, b in zip(found.prediction, y[:100], strict=True)]
    radius = sum(float(r) for r, hit in zip(found.radius, right, strict=True) if hit) / 100
    measured = objective.measure(model, lambda: data, data)
    assert measured == pytest.approx({"smoothed_accuracy": sum(right) / 100, "smoothed_radius": radius})
    assert radius > 0.2


def test_batches_that_are_replayed_are_not_accumulated(tmp_path: Path) -> None:
    recipe = Recipe.of({"name": "tiny", "data": "digits", "architecture": {"name": "small_cnn"}, "accumulate": 2})
    with pytest.raises(InputError, match="expected `accumulate` = 1 with free"):
        train(recipe, objective="free", threat=Linf(EPS), out=tmp_path / "out")
