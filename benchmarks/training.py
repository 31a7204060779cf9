"""What a step of adversarial training costs: xaibench beside a textbook loop and the Adversarial Robustness Toolbox.

    python benchmarks/training.py [--nets strided_cnn deep_cnn resnet] [--rounds 5] [--threads 1]

PGD-AT of 10 steps at Linf on random images, batches of 128 by default, from the same weights; contenders take turns,
and ratios are taken within a round. The reference is the better of two textbook loops: the one that asks autograd for
the gradient of the input alone. One process runs under the C library's usual allocator, and another, in turns with it,
under the setting that `xaibench.train` makes, so that what that brings can be told from the rest. First, without random
starts, the losses of ours and of the reference are compared: a difference beyond rounding would mean other work.

With one thread the clock is the processor's, which other work on the machine changes less; else that on the wall.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, ClassVar

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

NETS: dict[str, tuple[tuple[int, ...], dict[str, Any], float]] = {
    "strided_cnn": ((1, 28, 28), {}, 0.3),
    "deep_cnn": ((1, 28, 28), {}, 0.3),
    "resnet": ((3, 32, 32), {"widths": [16, 32, 64, 128]}, 8 / 255),
}
REFERENCE = "textbook, gradient of the input"
KEPT = ", memory kept"
Step = Callable[[Tensor, Tensor], float]


def ours(net: nn.Module, pgd: PGD, **recipe: object) -> Step:
    """A step of this library's learner."""
    values = {"name": "bench", "data": "mnist", "architecture": {"name": "mlp"}, "optimizer": {"name": "adam"}}
    learner = TorchLearner(net, Recipe.of(values | recipe), Normalisation())
    objective = PGDTraining(steps=pgd.steps, random_start=pgd.random_start)
    threat = Linf(pgd.eps)

    def step(x: Tensor, y: Tensor) -> float:
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


class Turns:
    """The contenders of one process, under the usual setting of memory or that of `xaibench.train`."""

    _steps: ClassVar[dict[str, Step]] = {}
    _batch: ClassVar[tuple[Tensor, Tensor]]
    _memory: ClassVar[ExitStack] = ExitStack()

    @classmethod
    def begin(cls, name: str, batch: int, threads: int, kept: bool) -> None:
        """Make them, once in the process."""
        torch.set_num_threads(threads)
        if kept:
            cls._memory.enter_context(kept_memory())  # never left: the C library does not go back all the way
        shape, params, eps = NETS[name]
        torch.manual_seed(0)
        net = architectures.create(Spec(name, {**params, "input_shape": list(shape), "classes": 10})).build()
        cls._batch = torch.rand(batch, *shape), torch.randint(0, 10, (batch,))
        pgd = PGD(eps, 10)
        if not kept:
            print(f"losses differ by {agreement(net, pgd, *cls._batch):.1e} at most", flush=True)
        cls._steps = contenders(net, pgd, shape)

    @classmethod
    def names(cls) -> list[str]:
        """Of the contenders."""
        return list(cls._steps)

    @classmethod
    def take(cls, label: str) -> float:
        """Seconds of a step."""
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        begun = clock()
        cls._steps[label](*cls._batch)
        return clock() - begun


def compare(name: str, batch: int, rounds: int, threads: int) -> None:
    """Print images per second, and ratios to the reference, of one network."""
    print(f"\n{name}, {batch} images of {NETS[name][0]}", flush=True)
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = {
            memory: stack.enter_context(spawn.Pool(1, Turns.begin, (name, batch, threads, memory == KEPT)))
            for memory in ("", KEPT)
        }
        turns = [(label, memory) for label in pools[""].apply(Turns.names) for memory in pools]
        seconds: dict[tuple[str, str], list[float]] = {turn: [] for turn in turns}
        for round_ in range(rounds + 1):
            for label, memory in turns if round_ % 2 == 0 else turns[::-1]:
                taken = pools[memory].apply(Turns.take, (label,))
                if round_:  # the first round warms up
                    seconds[label, memory].append(taken)
    for (label, memory), times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds[REFERENCE, ""], times, strict=True))
        print(f"{label + memory:46}{batch / statistics.median(times):9.0f} images/s{ratio:8.2f}x", flush=True)


def main() -> None:
    """Print a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each; medians are printed")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for all alike")
    options = parser.parse_args()
    for name in options.nets:
        compare(name, options.batch, options.rounds, options.threads)


if __name__ == "__main__":
    main()
