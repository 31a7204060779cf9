"""What a few runs on made-up inputs tell of a model: its classes, whether it is steady, whether it has gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xaibench.classifiers.engine import Engine
from xaibench.classifiers.interface import Interface
from xaibench.errors import UnsupportedError, first_line
from xaibench.losses import ce
from xaibench.rng import SampleRng

__all__ = ["Probe", "missing_gradient", "probe", "probe_batch"]

_PROBES = 8
_SUB_BATCH = 2
_ROUNDING = 2e-3


@dataclass(frozen=True, kw_only=True)
class Probe:
    """What was fed in, what came out, and why the same need not come out again (None where it does)."""

    x: Tensor
    logits: Tensor
    unsteady: str | None

    @property
    def width(self) -> int:
        """Number of classes."""
        return self.logits.shape[1]


def probe_batch(engine: Engine, interface: Interface, shape: Sequence[int | None]) -> Tensor:
    """Inputs of a model's own kind, from the dark to the bright end of its box; free sizes become 32."""
    sizes = tuple(32 if size is None else size for size in shape)
    rng = SampleRng(torch.arange(_PROBES), stream="probe")
    if interface.task == "text":
        return (rng.bits(sizes) % (engine.vocabulary or 2)).to(engine.device)
    low, high = interface.bounds.tensors(torch.zeros(()))
    # Unequal samples, so that a model which mixes the batch is seen to do so.
    reach = torch.linspace(1 / _PROBES, 1, _PROBES).reshape(-1, *(1 for _ in sizes))
    return (low + (high - low) * reach * rng.uniform(sizes)).to(engine.device, engine.dtype)


def probe(engine: Engine, x: Tensor) -> Probe:
    """Run the model on ``x`` twice, and on a part of it."""
    with torch.no_grad():
        first, second, part = (engine.logits(batch, None) for batch in (x, x, x[:_SUB_BATCH]))
    unsteady = None
    # Other batch sizes may take other kernels, which round otherwise.
    largest = first.nan_to_num(0.0, 0.0, 0.0).abs().max()
    rounding = max(_ROUNDING, math.sqrt(torch.finfo(engine.dtype).eps)) * float(largest)
    if not torch.allclose(first, second, rtol=1e-5, atol=1e-6, equal_nan=True):
        unsteady = "two passes over one batch gave different logits"
    elif not torch.allclose(first[:_SUB_BATCH], part, rtol=0, atol=rounding, equal_nan=True):
        unsteady = "the logits of a sample change with the other samples in its batch"
    return Probe(x=x, logits=first, unsteady=unsteady)


def missing_gradient(engine: Engine, probe: Probe) -> str | None:
    """Why the logits have no gradient with respect to the input, or to the embeddings of a text; None if they have.

    A gradient that is there but zero is no reason: made-up inputs may saturate a model that real ones do not.
    """
    try:
        engine.loss_gradient(probe.x, probe.logits.argmin(1), ce, None)
    except torch.OutOfMemoryError:
        raise
    except (LookupError, RuntimeError, UnsupportedError) as error:
        return first_line(error)
    return None
