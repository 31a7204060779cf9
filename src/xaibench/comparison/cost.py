"""How large and how fast two classifiers are."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.errors import InputError
from xaibench.evaluate.plan import Plan
from xaibench.types import Classifier
from xaibench.zoo import model_folder

__all__ = ["file_bytes", "parameters", "speeds"]

_COUNTERS = (torch.int64, torch.bool)
"""Of tensors that count or mark something, and are no weights."""
_BATCH, _ROUNDS, _SECONDS = 128, 7, 0.05


def parameters(model: Classifier) -> tuple[int, int] | None:
    """Number of a model's weights, and of those that are not zero; None where they cannot be seen.

    Statistics that layers keep with them count, as they do in the file.
    """
    held: Any = getattr(model, "module", None)
    if isinstance(held, nn.Module):
        values = [value.detach() for value in (*held.parameters(), *held.buffers()) if value.dtype not in _COUNTERS]
        return sum(one.numel() for one in values), sum(int(one.count_nonzero()) for one in values)
    held = getattr(model, "model", None)
    if hasattr(held, "get_weights"):
        arrays = held.get_weights()
        return sum(one.size for one in arrays), sum(int((one != 0).sum()) for one in arrays)
    return None


def file_bytes(plan: Plan) -> int | None:
    """Size of the file, or folder, of weights that a plan names; None where there is none."""
    path = Path(plan.weights or plan.model)
    if plan.weights is None and not path.is_file():
        try:
            path = model_folder(plan.model)
        except InputError:
            return None
    if path.is_file():
        return path.stat().st_size
    weights = sorted(path.glob("model.*")) or sorted(part for part in path.rglob("*") if part.is_file())
    return sum(one.stat().st_size for one in weights) or None


def speeds(models: tuple[Classifier, Classifier], inputs: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Samples a second forwards, by the fastest path of each framework, in batches of up to 128.

    The two take turns, so that what else the machine does slows both; the median of seven rounds.
    """
    batches = [x[:_BATCH].to(model.device) for model, x in zip(models, inputs, strict=True)]
    runs = [model.scorer(x) for model, x in zip(models, batches, strict=True)]
    times: tuple[list[float], list[float]] = ([], [])
    repeats = [max(1, int(_SECONDS / max(_seconds(run, x, 1), 1e-6))) for run, x in zip(runs, batches, strict=True)]
    for _ in range(_ROUNDS):
        for taken, run, x, repeat in zip(times, runs, batches, repeats, strict=True):
            taken.append(_seconds(run, x, repeat))
    first, second = (len(x) / statistics.median(taken) for x, taken in zip(batches, times, strict=True))
    return first, second


def _seconds(run: Any, x: Tensor, repeat: int) -> float:
    run(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeat):
        run(x)
    if x.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeat
