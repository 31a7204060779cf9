"""Adversarial training: its loss against closed forms of linear models, and the same steps in torch and Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.attacks import attacks
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.threats import L2, Linf, threat
from xaibench.training import train
from xaibench.training.keras_learner import KerasLearner
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import PGDTraining
from xaibench.training.recipe import Recipe, ThreatConfig
from xaibench.training.threat import TrainingThreat
from xaibench.training.torch_learner import TorchLearner
from xaibench.types import Bounds
from xaibench.zoo import load_model

RECIPE = Recipe.of(
    {"name": "tiny", "data": "digits", "architecture": {"name": "mlp"}, "optimizer": {"name": "sgd"}},
)
STILL = Normalisation()
WIDE = Bounds(-10.0, 10.0)
WEIGHT = torch.tensor([[0.5, -1.0, 2.0], [-0.5, 1.0, 0.25]])
DUAL = {"linf": lambda w: w.abs().sum(), "l2": lambda w: w.norm(), "l1": lambda w: w.abs().max()}


def linear(framework: str, normalise: Normalisation = STILL) -> TorchLearner | KerasLearner:
    """Two classes over three features, logits ``WEIGHT @ x``."""
    if framework == "torch":
        module = nn.Linear(3, 2)
        module.load_state_dict({"weight": WEIGHT, "bias": torch.zeros(2)})
        return TorchLearner(module, RECIPE, normalise, WIDE)
    from keras import Input, Sequential, layers

    model = Sequential([Input((3,)), layers.Dense(2)])
    model.set_weights([WEIGHT.T.numpy(), torch.zeros(2).numpy()])
    return KerasLearner(model, RECIPE, normalise, WIDE)


def rows(n: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn((n, 3), generator=torch.Generator().manual_seed(0)), torch.arange(n) % 2


def worst_loss(x: Tensor, y: Tensor, norm: str, eps: float, std: Tensor | None = None) -> float:
    """The margin of a linear model falls by eps times the dual norm of the difference of its two rows."""
    weight = WEIGHT if std is None else WEIGHT / std
    scores = x @ weight.T
    margin = scores.gather(1, y[:, None]) - scores.gather(1, 1 - y[:, None])
    return float(F.softplus(-(margin - eps * DUAL[norm](weight[0] - weight[1]))).mean())


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_loss_on_a_linear_model_is_that_of_the_worst_input(framework: str, norm: Any) -> None:
    x, y = rows()
    objective = PGDTraining(steps=20, step_size=0.5)
    result = linear(framework).step([(x, y)], objective, rate=0.0, seed=1, threat=threat(norm, 0.3))
    assert result.loss / len(y) == pytest.approx(worst_loss(x, y, norm, 0.3), rel=1e-5)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_the_ball_is_in_input_units_whatever_the_normalisation(framework: str) -> None:
    x, y = rows()
    std = torch.tensor([0.5, 2.0, 4.0])
    learner = linear(framework, Normalisation(torch.zeros(3), std))
    objective = PGDTraining(steps=1, step_size=1.0, random_start=False)
    result = learner.step([(x, y)], objective, rate=0.0, seed=0, threat=L2(0.3))
    assert result.loss / len(y) == pytest.approx(worst_loss(x, y, "l2", 0.3, std), rel=1e-5)


@pytest.mark.parametrize(("progress", "eps"), [(0.1, 0.1), (0.2, 0.2), (0.4, 0.4), (0.7, 0.4)])
def test_the_radius_grows_during_the_warm_up(progress: float, eps: float) -> None:
    x, y = rows()
    objective = PGDTraining(steps=1, step_size=1.0, random_start=False)
    growing = TrainingThreat(Linf, eps=0.4, warmup=0.4)
    result = linear("torch").step([(x, y)], objective, rate=0.0, seed=0, threat=growing.at(progress))
    assert result.loss / len(y) == pytest.approx(worst_loss(x, y, "linf", eps), rel=1e-5)


def test_training_stays_in_the_box() -> None:
    learner = linear("torch")
    learner.bounds = Bounds(-0.1, 0.1)
    x, y = torch.zeros(4, 3), torch.tensor([0, 1, 0, 1])
    result = learner.step([(x, y)], PGDTraining(steps=5), rate=0.0, seed=0, threat=Linf(0.5))
    assert result.loss / 4 == pytest.approx(worst_loss(x, y, "linf", 0.1), rel=1e-5)


def twins() -> tuple[nn.Module, Any]:
    """The same net with batch norm, twice."""
    from keras import Input, Sequential, layers

    model = Sequential(
        [
            Input((5, 5, 2)),
            layers.Conv2D(3, 3, padding="same"),
            layers.BatchNormalization(epsilon=1e-5, momentum=0.5),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3, momentum=0.5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 3),
    )
    conv, head = (model.layers[index] for index in (0, 4))
    conv.set_weights([module[0].weight.detach().permute(2, 3, 1, 0).numpy(), module[0].bias.detach().numpy()])
    head.set_weights([module[5].weight.detach().T.numpy(), module[5].bias.detach().numpy()])
    return module, model


def images() -> tuple[Tensor, Tensor]:
    return torch.rand((8, 2, 5, 5), generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3


def test_torch_and_keras_move_alike() -> None:
    module, model = twins()
    x, y = images()
    learners = TorchLearner(module, RECIPE, STILL), KerasLearner(model, RECIPE, STILL)
    for step in range(3):
        results = [
            learner.step([(x, y)], PGDTraining(steps=3), rate=0.5, seed=step, threat=Linf(0.1)) for learner in learners
        ]
        assert results[0].loss == pytest.approx(results[1].loss, rel=1e-4)
    torch.testing.assert_close(
        module[5].weight.detach().T.contiguous(), torch.tensor(model.layers[4].kernel.numpy()), rtol=1e-3, atol=1e-4
    )


def test_the_attack_is_made_in_evaluation_mode_and_only_its_end_is_trained_on() -> None:
    module, _ = twins()
    x, y = images()
    reference, _ = twins()
    adversarial = x.clone().requires_grad_()
    reference.eval()
    F.cross_entropy(reference(adversarial), y).backward()
    end = (x + 0.05 * adversarial.grad.sign()).clamp(0, 1)
    reference.train()
    reference.zero_grad()
    expected = F.cross_entropy(reference(end), y)
    expected.backward()
    learner = TorchLearner(module, RECIPE, STILL)
    objective = PGDTraining(steps=1, step_size=1.0, random_start=False)
    result = learner.step([(x, y)], objective, rate=1.0, seed=0, threat=Linf(0.05))
    assert result.loss / len(y) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert int(module[1].num_batches_tracked) == 1
    torch.testing.assert_close(module[1].running_mean, reference[1].running_mean)
    torch.testing.assert_close(module[5].weight, reference[5].weight - reference[5].weight.grad)


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_random_starts_are_those_of_the_seed(framework: str) -> None:
    def loss(seed: int) -> float:
        objective = PGDTraining(steps=1, step_size=0.1)
        return linear(framework).step([rows()], objective, rate=0.0, seed=seed, threat=Linf(0.3)).loss

    torch.manual_seed(3)
    assert loss(1) == loss(1) != loss(2)
    torch.manual_seed(4)
    assert loss(1) == loss(1)


def test_the_batches_of_a_step_start_from_different_points() -> None:
    objective = PGDTraining(steps=1, step_size=0.1)
    single, double = (
        linear("torch").step([rows()] * count, objective, rate=0.0, seed=1, threat=Linf(0.3)).loss for count in (1, 2)
    )
    assert double != pytest.approx(2 * single, rel=1e-6)


@pytest.mark.parametrize(
    "fields",
    [{"norm": "l0"}, {"norm": "l3"}, {"eps": 0.0}, {"eps": -1.0}, {"warmup": 1.0}, {"radius": 0.1}],
    ids=str,
)
def test_threats_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    assert ThreatConfig.model_validate({"norm": "linf", "eps": 0.1}).warmup == 0
    with pytest.raises(InputError, match=next(iter(fields))):
        Recipe.of(RECIPE.model_dump() | {"threat": {"norm": "linf", "eps": 0.1} | fields})


def test_a_threat_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a threat such as Linf"):
        train(RECIPE, objective="pgd_at", threat={"norm": "linf", "eps": 0.1}, out=tmp_path)  # type: ignore[arg-type]


def test_training_makes_a_net_robust(tmp_path: Path) -> None:
    recipe = Recipe.of(
        {
            "name": "tiny",
            "data": "digits",
            "epochs": 8,
            "batch_size": 64,
            "validation": 0.0,
            "architecture": {"name": "small_cnn", "params": {"width": 8, "dropout": 0.0}},
            "optimizer": {"name": "adam", "learning_rate": 4e-3},
        }
    )
    test, robust = load_data("digits", "test"), {}
    for objective, against in (("standard", None), ("pgd_at:steps=4", Linf(0.1))):
        model = load_model(train(recipe, objective=objective, threat=against, out=tmp_path / objective[:3]))
        broken = attacks.create("pgd:steps=20")(model, test.inputs, test.labels, Linf(0.1))
        robust[objective[:3]] = float((model.predict(broken) == test.labels).double().mean())
    assert robust["pgd"] > robust["sta"] + 0.2
