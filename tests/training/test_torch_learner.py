"""Torch training in mixed precision, and by the recipes that are kept."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xaibench.data import Data
from xaibench.registry import Spec
from xaibench.rng import SampleRng
from xaibench.threats import Linf
from xaibench.training.learner import Normalisation
from xaibench.training.memory import kept_memory
from xaibench.training.network import make_network
from xaibench.training.objectives import PGDTraining, objectives
from xaibench.training.recipe import Recipe
from xaibench.training.threat import training_threat
from xaibench.training.torch_forward import TorchForward
from xaibench.training.torch_learner import TorchLearner
from xaibench.types import Bounds

RECIPES = Path(__file__).parents[2] / "recipes"
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def make(**changes: object) -> TorchLearner:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    plan = {"name": "tiny", "data": "digits", "architecture": {"name": "mlp"}, "optimizer": {"name": "sgd"}}
    return TorchLearner(module, Recipe.of(plan | changes), Normalisation())


def batch(size: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size) % 3


OBJECTIVES = {
    "pgd_at": Spec("pgd_at", {"steps": 2, "random_start": False}),
    "trades": Spec("trades", {"steps": 2}),
    "awp": Spec("awp", {"objective": "trades:steps=2", "warmup": 0.0, "gamma": 0.5}),
}


def stepped(learner: TorchLearner, name: str) -> dict[str, Tensor]:
    for seed in range(2):
        learner.step([batch()], objectives.create(OBJECTIVES[name]), rate=0.5, seed=seed, threat=Linf(0.1))
    return learner.weights()


def test_attack_passes_change_neither_gradients_nor_statistics_and_training_resumes() -> None:
    module = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 3))
    plan = Recipe.of({"name": "tiny", "data": "digits", "architecture": {"name": "mlp"}})
    learner = TorchLearner(module, plan, Normalisation())
    learner.step([batch()], PGDTraining(steps=3), rate=0.1, seed=0, threat=Linf(0.1))
    assert int(module.state_dict()["0.num_batches_tracked"]) == 1
    assert all(part.training for part in module.modules())


def test_bfloat16_follows_full_precision() -> None:
    losses = [
        make(precision=precision)
        .step([batch()], PGDTraining(steps=2, random_start=False), rate=0.1, seed=0, threat=Linf(0.1))
        .loss
        for precision in ("no", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=2e-2)
    assert losses[0] != losses[1]


def test_kept_memory_is_given_back_and_changes_no_number() -> None:
    def trained() -> dict[str, Tensor]:
        return stepped(make(), "pgd_at")

    outside = trained()
    with kept_memory():
        inside = trained()
    assert all(torch.equal(value, inside[key]) for key, value in outside.items())
    with pytest.raises(RuntimeError, match="passes through"), kept_memory():
        raise RuntimeError("passes through")


def test_tensors_after_kept_memory_are_not_mapped_one_by_one() -> None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "mallinfo2"):
        pytest.skip("another C library")

    class Figures(ctypes.Structure):
        _fields_: ClassVar = [(f"field{i}", ctypes.c_size_t) for i in range(10)]

    library.mallinfo2.restype = Figures
    with kept_memory():
        pass
    # The fourth field counts what is mapped by itself.
    before = library.mallinfo2().field3
    held = [torch.zeros(2**20) for _ in range(3)]
    assert library.mallinfo2().field3 == before
    assert len(held) == 3


def test_raised_weights_do_not_drown_in_half_precision() -> None:
    """Gradients below the least number of fp16 still raise the weights, and a scale changes nothing else."""

    def raised(*, half: bool, scale: float, faint: float) -> Tensor:
        learner = make()
        learner._attack_scale = scale
        kernel = learner._module[3].weight  # type: ignore[index]  # a `Sequential`
        if half:
            kernel.register_hook(lambda gradient: gradient.half().float())
        x, y = batch()
        forward = TorchForward(learner, SampleRng(torch.arange(len(x))), 1.0, None, 1.0)
        with forward.ascended:
            forward.ascend_weights(lambda: faint * F.cross_entropy(forward(x)[0], y), 0.1)
            return kernel.detach().clone()

    plain = raised(half=False, scale=1.0, faint=1.0)
    assert torch.equal(raised(half=False, scale=1024.0, faint=1.0), plain)
    drowned = raised(half=True, scale=1.0, faint=1e-7)
    found = raised(half=True, scale=1024.0, faint=1e-7)
    still = make()._module[3].weight.detach()  # type: ignore[index]
    assert torch.equal(drowned, still)
    direction = F.cosine_similarity((found - still).flatten(), (plain - still).flatten(), dim=0)
    assert float(direction) > 0.99


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_take_a_step(path: Path) -> None:
    """Every kept recipe of images builds its network and moves its weights on a few random rows."""
    plan = Recipe.read(path)
    if plan.data not in SHAPES or plan.init is not None:
        pytest.skip("the recipe asks for other data or for trained weights")
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(4, *SHAPES[plan.data], generator=generator)
    rows = Data(
        name=plan.data,
        split="train",
        task="image",
        inputs=inputs,
        labels=torch.arange(4),
        class_names=tuple("0123456789"),
        ids=torch.arange(4),
        digest="",
        bounds=Bounds(),
    )
    learner = make_network(plan, rows).learner
    before = learner.weights()
    threat = training_threat(plan.threat, rows, learner.classifier)
    objective = objectives.create(Spec(plan.objective.name, plan.objective.params))
    result = learner.step(
        [(inputs, rows.labels)], objective, rate=0.01, seed=0, threat=None if threat is None else threat.full
    )
    assert result.count == 4
    assert any(not torch.equal(before[key], value) for key, value in learner.weights().items())
