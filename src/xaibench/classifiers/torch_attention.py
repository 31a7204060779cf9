"""Attention weights of torch modules, taken while the model runs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

__all__ = ["OffersAttention", "attention_layers", "recorded_attention"]

_SIGNATURE = inspect.signature(nn.MultiheadAttention.forward)


@runtime_checkable
class OffersAttention(Protocol):
    """A module that can say its weights: ``attention_weights`` takes what its ``forward`` takes."""

    def attention_weights(self, *args: Any, **kwargs: Any) -> Tensor:
        """Weights (n, heads, queries, keys)."""
        ...


def attention_layers(module: nn.Module) -> list[str]:
    """Names of the layers whose attention can be recorded."""
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.MultiheadAttention) or callable(getattr(part, "attention_weights", None))
    ]


@contextmanager
def recorded_attention(module: nn.Module) -> Iterator[dict[str, Tensor]]:
    """A dictionary that fills with the weights (n, heads, queries, keys) of each layer as it runs."""
    weights: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name in attention_layers(module):
            part = module.get_submodule(name)
            recorder = _Recorder(name, weights)
            if isinstance(part, nn.MultiheadAttention):
                before = part.register_forward_pre_hook(recorder.ask, with_kwargs=True)
                stack.callback(before.remove)
                after = part.register_forward_hook(recorder.take)
            else:
                after = part.register_forward_hook(recorder.request, with_kwargs=True)
            stack.callback(after.remove)
        yield weights


class _Recorder:
    """Hooks of one layer: ask for weights per head, keep them, and hand on what the caller had asked for."""

    def __init__(self, name: str, weights: dict[str, Tensor]) -> None:
        self.name, self.weights = name, weights
        self.asked: dict[str, Any] = {}

    def ask(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        call = _SIGNATURE.bind(module, *args, **kwargs)
        call.apply_defaults()
        arguments = dict(call.arguments)
        del arguments["self"]
        self.asked = dict(arguments)
        # Causal masks are given as a hint to a fused kernel that forms no weights.
        arguments.update(need_weights=True, average_attn_weights=False)
        return (), arguments

    def take(self, _module: nn.Module, _args: Any, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor | None]:
        result, weights = output
        self._keep(weights)
        if not self.asked["need_weights"]:
            return result, None
        return result, weights.mean(1) if self.asked["average_attn_weights"] else weights

    def request(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
        self._keep(module.attention_weights(*args, **kwargs))

    def _keep(self, weights: Tensor) -> None:
        uses = sum(name == self.name or name.startswith(f"{self.name}#") for name in self.weights)
        self.weights[self.name if not uses else f"{self.name}#{uses + 1}"] = weights
