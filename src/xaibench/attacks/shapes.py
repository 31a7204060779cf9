"""Batch shapes in which a model computes the same bits for a row, whatever the rest of the batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from xaibench.errors import InputError
from xaibench.types import Capability, Classifier

__all__ = ["halving", "scoring", "shapes"]

_SMALL = (4, 8)
_SIZES = (16, 32, 64, 96, 128, 160, 192, 224, 256)
_FIXED = 64
_AS_GOOD = 1.5
_PATIENCE = 0.25  # seconds that a batch may take for a larger one to be tried
_known: WeakKeyDictionary[Classifier, dict[int | None, tuple[int, ...]]] = WeakKeyDictionary()


def shapes(model: Classifier, x: Tensor, y: Tensor, batch_size: int | None = None) -> tuple[int, ...]:
    """Batch sizes, ascending, among which a run may change without changing its numbers; the last is the usual one.

    Kernels choose their order of summation by the shape of the batch. Most give the same bits at all multiples of 16;
    whether this model's do is tried on the first samples ``x`` (n, ...), once per model. Without ``batch_size`` the
    fastest of the sizes that agree is taken, and 64 where they do not.
    """
    known = _known.setdefault(_innermost(model), {})
    if batch_size not in known:
        known[batch_size] = _chosen(model, x, y) if batch_size is None else _below(model, x, y, batch_size)
    return known[batch_size]


def _innermost(model: Classifier) -> Classifier:
    """The model within those that count, watch or aim."""
    while (inner := vars(model).get("classifier")) is not None:
        model = inner
    return model


def scoring(model: Classifier, x: Tensor, sizes: tuple[int, ...]) -> tuple[Callable[[Tensor], Tensor], tuple[int, ...]]:
    """The model's fast way from inputs to logits, and those of ``sizes`` in which that too gives the same bits.

    The last size is always among them: a random model never gives the same bits.
    """
    *smaller, last = sizes
    whole = x[torch.arange(last, device=x.device) % len(x)]
    score = model.scorer(whole)
    logits = score(whole)
    return score, (*(size for size in smaller if torch.equal(score(whole[:size]), logits[:size])), last)


def halving(run: Callable[[tuple[int, ...]], None], sizes: tuple[int, ...]) -> None:
    """Run with batches of at most the last of ``sizes``, and of half of that as often as memory runs out."""
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    size = sizes[-1]
    while size:
        try:
            return run((*(value for value in sizes if value < size), size))
        except Exception as error:
            if not should_reduce_batch_size(error):
                raise
        clear_device_cache(garbage_collection=True)
        size //= 2
    raise InputError("expected memory for a batch of one sample, got none")


def _chosen(model: Classifier, x: Tensor, y: Tensor) -> tuple[int, ...]:
    """The fastest size and those below it, if all agree."""
    if Capability.DETERMINISTIC not in model.capabilities:
        return (_FIXED,)
    first = _pass(model, x, y, _SIZES[0])
    tried, share = [], {}
    for size in _SIZES:
        if not _agree(first, _pass(model, x, y, size)):  # the first pass of a shape also sets up its kernels
            return (_FIXED,)
        tried.append(size)
        if size & (size - 1) == 0:  # powers of two tell enough of the speed
            seconds = _seconds(model, x, y, size)
            share[size] = seconds / size
            if seconds > _PATIENCE and size >= _FIXED:
                break
    # Steps have costs of their own beside the model's: of sizes about as fast, the largest.
    best = max(size for size, value in share.items() if value <= _AS_GOOD * min(share.values()))
    small = [size for size in _SMALL if _agree(_pass(model, x, y, size), first)]
    return (*small, *(size for size in tried if size <= best))


def _seconds(model: Classifier, x: Tensor, y: Tensor, size: int) -> float:
    """Of processor time, which does not count what other programs take, or of a GPU's."""
    clock = time.perf_counter if x.is_cuda else time.process_time
    start = clock()
    _pass(model, x, y, size)
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return clock() - start


def _below(model: Classifier, x: Tensor, y: Tensor, batch_size: int) -> tuple[int, ...]:
    """The given size, and the usual ones below it that agree with it."""
    smaller = [size for size in (*_SMALL, *_SIZES) if size < batch_size]
    if not smaller or Capability.DETERMINISTIC not in model.capabilities:
        return (batch_size,)
    whole = _pass(model, x, y, batch_size)
    return (*(size for size in smaller if _agree(_pass(model, x, y, size), whole)), batch_size)


def _pass(model: Classifier, x: Tensor, y: Tensor, size: int) -> tuple[Tensor, ...]:
    index = torch.arange(size, device=x.device) % len(x)
    if Capability.GRADIENTS not in model.capabilities:
        with torch.no_grad():
            return (model.logits(x[index]),)
    answer = model.loss_gradient(x[index], y[index], "margin")
    return (answer.gradient, answer.logits)


def _agree(few: tuple[Tensor, ...], many: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b[: len(a)]) for a, b in zip(few, many, strict=True))
