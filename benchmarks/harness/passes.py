"""Counting the work that a run asks of a network: forward and backward passes, by sample."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass

from torch import Tensor, nn

__all__ = ["Work", "measured"]


@dataclass
class Work:
    """Time of the wall clock and of all threads, in seconds, and samples that went through a network."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    forwards: int = 0
    gradients: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@contextmanager
def measured(module: nn.Module) -> Iterator[Work]:
    """What the body costs, filled in when it ends."""
    work = Work()

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        work.forwards += len(inputs[0])
        if output.requires_grad:
            output.register_hook(count_gradient)

    def count_gradient(gradient: Tensor) -> None:
        work.gradients += len(gradient)

    handle = module.register_forward_hook(count)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield work
    finally:
        work.seconds, work.cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        handle.remove()
