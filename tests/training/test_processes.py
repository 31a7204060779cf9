"""Two processes on the CPU: they end with the weights, figures and files of one."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xaibench.data import Data
from xaibench.registry import Spec
from xaibench.threats import Linf
from xaibench.training import train
from xaibench.training.learner import Normalisation
from xaibench.training.objectives import objectives
from xaibench.training.recipe import Recipe
from xaibench.training.torch_learner import TorchLearner
from xaibench.types import Bounds

PLAN: dict[str, Any] = {
    "name": "tiny",
    "data": "tiny",
    "architecture": {"name": "mlp", "params": {"hidden": [8], "dropout": 0.0}},
    "optimizer": {"name": "sgd"},
    "clip_norm": 1.0,
    "ema": 0.9,
}
OBJECTIVES = {
    "pgd_at": Spec("pgd_at", {"steps": 2}),
    "awp": Spec("awp", {"objective": "trades:steps=2", "warmup": 0.0, "gamma": 0.5}),
}
SIZES = [9, 4, 1]
"""Of a step's batches: uneven shares, and one in which the second process has none."""


def learner(module: nn.Module) -> TorchLearner:
    """In double precision: signs of gradients near zero would tell rounding apart."""
    return TorchLearner(module.double(), Recipe.of(PLAN), Normalisation())


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.rand(n, 1, 6, 6, generator=generator, dtype=torch.float64), torch.arange(n) % 3) for n in SIZES]


def steps(objective: Spec) -> tuple[dict[str, Tensor], list[float]]:
    """Weights after two steps, and the loss and accuracy of each."""
    torch.manual_seed(0)
    made = learner(nn.Sequential(nn.Conv2d(1, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(48, 3)))
    found = [
        made.step(batches(), objectives.create(objective), rate=0.5, seed=seed, threat=Linf(0.1)) for seed in range(2)
    ]
    assert [result.count for result in found] == [sum(SIZES)] * 2
    return made.state(), [value for result in found for value in (result.loss, result.correct)]


def folder(out: Path) -> None:
    """A whole run with an average, a probe, and checkpoints all the time."""
    generator = torch.Generator().manual_seed(2)
    rows = Data(
        name="tiny",
        split="train",
        task="tabular",
        inputs=torch.rand(80, 6, generator=generator),
        labels=torch.arange(80) % 3,
        class_names=tuple("abc"),
        feature_names=tuple("uvwxyz"),
        ids=torch.arange(80),
        digest="",
        bounds=Bounds(),
    )
    probe = {"attack": "fgsm", "samples": 20}
    changes = {"epochs": 2, "batch_size": 15, "validation": 0.25, "checkpoint_seconds": 1e-9, "probe": probe}
    train(Recipe.of(PLAN | changes), rows, threat=Linf(0.05), out=out)


def worker(rank: int, path: str, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    found: dict[str, Any] = {name: steps(spec) for name, spec in OBJECTIVES.items()}
    torch.manual_seed(rank)  # the second process's own weights give way to the first's
    made = learner(nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(36, 3)))
    made.step(batches()[:1], objectives.create("standard"), rate=0.5, seed=0)
    found["batch norm"] = made.state()
    found["agreed"] = made.agreed({"accuracy": 0.25 + rank, "probed": rank})
    folder(Path(path, "two"))
    torch.save(found, Path(path, f"{rank}.pt"))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder where two processes left what they found."""
    path = tmp_path_factory.mktemp("processes")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(worker, (str(path), port), nprocs=2)
    return path


@pytest.fixture
def pair(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    first, second = (torch.load(run / f"{rank}.pt") for rank in (0, 1))
    return first, second


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_move_the_weights_as_one_does(pair: tuple[dict[str, Any], dict[str, Any]], name: str) -> None:
    """Samples count alike, however they are shared; so do the figures of a step."""
    state, figures = steps(OBJECTIVES[name])
    for other, seen in (found[name] for found in pair):
        assert seen == pytest.approx(figures, rel=1e-9)
        torch.testing.assert_close(other, state, rtol=1e-9, atol=1e-12)
    assert all(torch.equal(value, pair[1][name][0][key]) for key, value in pair[0][name][0].items())


def test_batch_norm_has_the_statistics_of_the_first_share(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, second = (found["batch norm"] for found in pair)
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    share = batches()[0][0][::2]
    torch.testing.assert_close(first["weights.0.running_mean"], 0.1 * share.mean((0, 2, 3)))


def test_all_decide_by_the_figures_of_the_first(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert [found["agreed"] for found in pair] == [{"accuracy": 0.25, "probed": 0}] * 2


def test_a_run_of_two_writes_the_folder_of_one(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder(tmp_path / "one")
    one, two = (load_file(path / "model.safetensors") for path in (tmp_path / "one", run / "two"))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-6)
    logs = [
        [json.loads(line) for line in (path / "log.jsonl").read_text().splitlines()]
        for path in (tmp_path / "one", run / "two")
    ]
    for expected, line in zip(*logs, strict=True):
        assert line.keys() == expected.keys()
        figures = {key: value for key, value in expected.items() if isinstance(value, float) and key != "seconds"}
        assert {key: line[key] for key in figures} == pytest.approx(figures, rel=1e-4)
    assert sorted(path.name for path in (run / "two").iterdir()) == ["config.json", "log.jsonl", "model.safetensors"]
