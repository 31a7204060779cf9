"""Changing a torch module for the length of a `with` block, and leaving it exactly as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xaibench.errors import UnsupportedError

__all__ = ["analysis", "tapped"]

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()  # type: ignore[type-arg]
_locks_guard = threading.Lock()


@contextmanager
def analysis(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode, parameters without gradients, no fused attention; one thread at a time; may be nested."""
    with _locks_guard:
        lock = _locks.setdefault(module, threading.RLock())
    with lock, ExitStack() as restore:
        parts = list(module.modules())
        training = [part for part in parts if part.training]
        trainable = [value for part in parts for value in part._parameters.values() if value is not None]
        trainable = [value for value in trainable if value.requires_grad]
        restore.callback(_set, training, trainable, True)
        _set(training, trainable, False)
        for setting in _kernels(parts):
            restore.enter_context(setting)
        yield module


@contextmanager
def tapped(module: nn.Module, layer: str, tap: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Pass the output of a layer (the first tensor of several) through ``tap``; it must run once in the block."""
    calls = 0

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if isinstance(output, Tensor):
            return tap(output)
        if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
            return (tap(output[0]), *output[1:])
        raise UnsupportedError(f"layer {layer!r} returns {type(output).__name__}: expected a tensor or a tuple of them")

    handle = module.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
    if calls != 1:
        raise UnsupportedError(f"layer {layer!r} runs {calls} times in one pass: expected once, choose another")


def _set(modules: list[nn.Module], parameters: list[nn.Parameter], value: bool) -> None:
    for module in modules:
        module.training = value
    for parameter in parameters:
        parameter.requires_grad_(value)


def _kernels(parts: list[nn.Module]) -> Iterator[Any]:
    """Contexts that keep every layer observable and differentiable."""
    if any(isinstance(part, nn.MultiheadAttention | nn.TransformerEncoder) for part in parts):
        yield _no_fused_attention()
    # cuDNN refuses the backward pass of recurrent nets in evaluation mode.
    if any(isinstance(part, nn.RNNBase) for part in parts) and torch.cuda.is_available():
        yield torch.backends.cudnn.flags(enabled=False)


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
