"""What a step of adversarial training costs: xaibench beside a textbook loop and the Adversarial Robustness Toolbox.

    python benchmarks/training.py [--nets strided_cnn deep_cnn resnet] [--rounds 5] [--threads 1]

PGD-AT of 10 steps at Linf on random images, batches of 128 by default, from the same weights; contenders take turns in
one process, and ratios are taken within a round. The reference is the better of two textbook loops: the one that asks
autograd for the gradient of the input alone. First, without random starts, the losses of ours and of the reference are
compared: a difference beyond rounding would mean other work.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads that spin would be charged to their neighbours
os.environ.setdefault("TQDM_DISABLE", "1")  # progress bars of other libraries

import torch
from harness.textbook import PGD, art_madry, textbook
from torch import Tensor, nn

from xaibench.architectures import architectures
from xaibench.registry import Spec
from xaibench.threats import Linf
from xaibench.training.learner import Normalisation
from xaibench.training.memory import kept_memory
from xaibench.training.objectives import PGDTraining
from xaibench.training.recipe import Recipe
from xaibench.training.torch_learner import TorchLearner

NETS = {
    "strided_cnn": ((1, 28, 28), {}, 0.3),
    "deep_cnn": ((1, 28, 28), {}, 0.3),
    "resnet": ((3, 32, 32), {"widths": [16, 32, 64, 128]}, 8 / 255),
}
REFERENCE = "textbook, gradient of the input"
Step = Callable[[Tensor, Tensor], float]


def ours(net: nn.Module, pgd: PGD, **recipe: object) -> Step:
    """A step of this library's learner."""
    values = {"name": "bench", "data": "mnist", "architecture": {"name": "mlp"}, "optimizer": {"name": "adam"}}
    learner = TorchLearner(net, Recipe.of(values | recipe), Normalisation())
    objective = PGDTraining(steps=pgd.steps, random_start=pgd.random_start)
    threat = Linf(pgd.eps)

    def step(x: Tensor, y: Tensor) -> float:
        with kept_memory():
            return learner.step([(x, y)], objective, rate=1e-3, seed=0, threat=threat).loss / len(y)

    return step


def contenders(net: nn.Module, pgd: PGD, shape: tuple[int, ...]) -> dict[str, Step]:
    """All of them, each with a copy of the network."""
    found: dict[str, Step] = {
        REFERENCE: textbook(copy.deepcopy(net), pgd),
        "textbook, loss.backward()": textbook(copy.deepcopy(net), pgd, backward=True),
        "xaibench": ours(copy.deepcopy(net), pgd),
        "xaibench, channels last": ours(copy.deepcopy(net), pgd, channels_last=True),
        "xaibench, channels last, bf16": ours(copy.deepcopy(net), pgd, channels_last=True, precision="bf16"),
    }
    if importlib.util.find_spec("art") is None:
        print("skipped the Adversarial Robustness Toolbox: it is not installed")
    else:
        found["ART Madry trainer"] = art_madry(copy.deepcopy(net), pgd, shape)
    return found


def agreement(net: nn.Module, pgd: PGD, x: Tensor, y: Tensor) -> float:
    """The largest relative difference between the losses of three steps of ours and of the reference."""
    still = PGD(pgd.eps, pgd.steps, random_start=False)
    pair = textbook(copy.deepcopy(net), still), ours(copy.deepcopy(net), still)
    losses = [[step(x, y) for step in pair] for _ in range(3)]
    return max(abs(a - b) / a for a, b in losses)


def compare(name: str, batch: int, rounds: int) -> None:
    """Print images per second, and ratios to the reference, of one network."""
    shape, params, eps = NETS[name]
    torch.manual_seed(0)
    net = architectures.create(Spec(name, {**params, "input_shape": list(shape), "classes": 10})).build()
    x, y = torch.rand(batch, *shape), torch.randint(0, 10, (batch,))
    pgd = PGD(eps, 10)
    print(f"\n{name}, {batch} images of {shape}; losses differ by {agreement(net, pgd, x, y):.1e} at most")
    steps = contenders(net, pgd, shape)
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for turn in range(rounds + 1):
        for label, step in steps.items() if turn % 2 == 0 else reversed(steps.items()):
            begun = time.perf_counter()
            step(x, y)
            if turn:  # the first turn warms up
                seconds[label].append(time.perf_counter() - begun)
    for label, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[REFERENCE], times, strict=True))
        print(f"{label:34}{batch / statistics.median(times):9.0f} images/s{ratio:8.2f}x", flush=True)


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; medians are printed")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for all alike")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.nets:
        compare(name, options.batch, options.rounds)


if __name__ == "__main__":
    main()
