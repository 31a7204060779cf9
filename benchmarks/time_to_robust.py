"""How long each way of adversarial training takes to reach the same robust accuracy.

    python benchmarks/time_to_robust.py [--data digits mnist] [--seeds 2] [--threads 1]

Every objective trains from new weights over schedules of several lengths, each annealed to its end; then 20 steps of
PGD on test rows tell its robust accuracy, outside the clock. What is to be reached is the best of PGD-AT less a point,
and the time of an objective is that of its shortest schedule that reaches it. Seconds are the processor's, which other
work on the machine changes less than the clock on the wall.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads that spin would be charged as work

import torch

from xaibench.data import Data, load_data
from xaibench.registry import Spec
from xaibench.training.batches import TrainingSet
from xaibench.training.loop import fit
from xaibench.training.memory import kept_memory
from xaibench.training.network import make_network
from xaibench.training.objectives import objectives
from xaibench.training.probe import robust_accuracy
from xaibench.training.recipe import Probe, Recipe
from xaibench.training.threat import training_threat

SETTINGS: dict[str, dict[str, Any]] = {
    "digits": {
        "architecture": {"name": "small_cnn", "params": {"dropout": 0.0}},
        "batch_size": 64,
        "rows": None,
        "longest": 24,
    },
    "mnist": {"architecture": {"name": "strided_cnn"}, "batch_size": 128, "rows": 6_000, "longest": 4},
}
EPS = 0.1
PROBE = Probe(attack="pgd:steps=20", samples=1000)
CYCLIC = {"name": "cyclic", "peak": 0.3}


@dataclass(frozen=True)
class Method:
    """An objective, its schedule of learning rates, and its epochs as shares of the longest schedule."""

    objective: str
    schedule: dict[str, Any]
    shares: tuple[float, ...] = (1.0, 0.5, 0.25)


METHODS = {
    "PGD-AT, 10 steps": Method("pgd_at:steps=10", {"name": "cosine"}),
    "FGSM-RS": Method("fgsm_rs", CYCLIC, shares=(1.0, 0.75, 0.5, 0.25)),
    "N-FGSM": Method("n_fgsm", CYCLIC, shares=(1.0, 0.75, 0.5, 0.25)),
    "Free, 4 replays": Method("free:replays=4", CYCLIC, shares=(0.5, 0.25, 0.125)),
}


@dataclass(frozen=True)
class Outcome:
    """Processor seconds of a training, and robust and clean accuracy at its end."""

    seconds: float
    robust: float
    clean: float


def plan(data: str, method: Method, epochs: int, seed: int) -> Recipe:
    """The recipe of one training."""
    setting, spec = SETTINGS[data], Spec.parse(method.objective)
    return Recipe.of(
        {
            "name": "bench",
            "data": data,
            "architecture": setting["architecture"],
            "batch_size": setting["batch_size"],
            "epochs": epochs,
            "seed": seed,
            "validation": 0,
            "objective": {"name": spec.name, "params": dict(spec.params)},
            "threat": {"norm": "linf", "eps": EPS, "warmup": 0.1},
            "optimizer": {"name": "adam", "learning_rate": 2e-3},
            "schedule": method.schedule,
        }
    )


def trained(recipe: Recipe, rows: Data, test: Data) -> Outcome:
    """One training, timed, and what it is worth."""
    goal = objectives.create(Spec(recipe.objective.name, recipe.objective.params))
    learner = make_network(recipe, rows).learner
    threat = training_threat(recipe.threat, rows, learner.classifier)
    assert threat is not None
    assert isinstance(rows.inputs, torch.Tensor)
    assert isinstance(test.inputs, torch.Tensor)
    training = TrainingSet(rows.inputs, rows.labels, rows.ids)
    with tempfile.TemporaryDirectory() as folder, kept_memory():
        begun = time.process_time()
        fit(learner, goal, recipe, training, None, threat=threat, folder=Path(folder))
        seconds = time.process_time() - begun
    robust = robust_accuracy(
        learner.classifier, test.inputs, test.labels, test.ids, threat=threat.full, probe=PROBE, seed=0
    )
    clean = float((learner.logits(test.inputs).argmax(1) == test.labels).double().mean())
    return Outcome(seconds, robust, clean)


def compare(data: str, seeds: int) -> None:
    """Print every schedule of every method, and how long each takes to what PGD-AT reaches."""
    rows = load_data(data, "train", SETTINGS[data]["rows"])
    test = load_data(data, "test")
    found: dict[str, dict[int, Outcome]] = {name: {} for name in METHODS}
    print(
        f"\n{data}: {len(rows)} rows, Linf {EPS}, {min(len(test), PROBE.samples)} test rows, medians of {seeds} seeds",
        flush=True,
    )
    for name, method in METHODS.items():
        for share in method.shares:
            epochs = max(1, round(share * SETTINGS[data]["longest"]))
            runs = [trained(plan(data, method, epochs, seed), rows, test) for seed in range(seeds)]
            one = found[name][epochs] = Outcome(
                *(statistics.median(getattr(run, field) for run in runs) for field in ("seconds", "robust", "clean"))
            )
            figures = f"{one.seconds:8.1f} s   robust {one.robust:.1%}   clean {one.clean:.1%}"
            print(f"  {name:18}{epochs:4} epochs{figures}", flush=True)
    reference = found["PGD-AT, 10 steps"]
    target = max(one.robust for one in reference.values()) - 0.01
    times = {
        name: min((one.seconds for one in runs.values() if one.robust >= target), default=None)
        for name, runs in found.items()
    }
    whole = times["PGD-AT, 10 steps"]
    assert whole is not None
    for name, seconds in times.items():
        said = "not reached" if seconds is None else f"{seconds:8.1f} s, {seconds / whole:.2f} of PGD-AT's"
        print(f"to robust {target:.1%}: {name:18}{said}", flush=True)


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each; medians are printed")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for data in options.data:
        compare(data, options.seeds)


if __name__ == "__main__":
    main()
