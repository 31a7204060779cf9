"""Changing a torch module for the length of a `with` block, and leaving it exactly as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xaibench.errors import UnsupportedError

__all__ = ["analysis", "tapped"]


class _Known:
    """What is kept of a module between analyses: its lock, and whether it writes to its buffers when it runs."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.writes: bool | None = None


_known: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()
_known_guard = threading.Lock()


@contextmanager
def analysis(module: nn.Module) -> Iterator[nn.Module]:
    """Evaluation mode, parameters without gradients, no fused attention; one thread at a time; may be nested.

    Whatever the module does meanwhile to its modes and buffers, it is left with those that it had.
    """
    with _known_guard:
        known = _known.setdefault(module, _Known())
    with known.lock, ExitStack() as restore:
        parts = list(module.modules())
        modes = [(part, part.training) for part in parts]
        trainable = [value for part in parts for value in part._parameters.values() if value is not None]
        trainable = [value for value in trainable if value.requires_grad]
        restore.callback(_set, modes, trainable, True)
        _set([(part, False) for part in parts], trainable, False)
        restore.enter_context(_kept_buffers(parts, known))
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


@contextmanager
def _kept_buffers(parts: list[nn.Module], known: _Known) -> Iterator[None]:
    """Let the module run on copies of its buffers, until it is known to leave them alone, and put its own back."""
    own = [(part._buffers, dict(part._buffers)) for part in parts if isinstance(part._buffers, dict) and part._buffers]
    if known.writes is not False:
        copies = {id(value): value.clone() for _, kept in own for value in kept.values() if value is not None}
        for buffers, kept in own:
            buffers.update({name: copies.get(id(value)) for name, value in kept.items()})
    lent = [_versions(buffers) for buffers, _ in own]
    try:
        yield
    finally:
        known.writes = known.writes is True or lent != [_versions(buffers) for buffers, _ in own]
        for buffers, kept in own:
            buffers.clear()
            buffers.update(kept)


def _versions(buffers: Mapping[str, Tensor | None]) -> list[tuple[int, int]]:
    """Which tensors there are, and how often each was written to, as far as that is counted."""
    tensors = [value for value in buffers.values() if value is not None]
    return [(id(value), 0 if value.is_inference() else value._version) for value in tensors]


def _set(modes: list[tuple[nn.Module, bool]], parameters: list[nn.Parameter], value: bool) -> None:
    for module, mode in modes:
        if module.training != mode:
            module.training = mode
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
