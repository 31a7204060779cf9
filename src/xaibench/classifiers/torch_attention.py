"""Attention weights of torch modules, taken while the model runs, and as the very tensors that it goes on with."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xaibench.errors import UnsupportedError

__all__ = ["OffersAttention", "attention_layers", "noticed_attention", "recorded_attention"]

_SIGNATURE = inspect.signature(F.multi_head_attention_forward)
_ASKED = "attentions"


@runtime_checkable
class OffersAttention(Protocol):
    """A module that can say its weights: ``attention_weights`` takes what its ``forward`` takes.

    Where ``forward`` calls it, gradients with respect to the weights can be taken too.
    """

    def attention_weights(self, *args: Any, **kwargs: Any) -> Tensor:
        """Weights (n, heads, queries, keys)."""
        ...


class _Recorded(dict[str, Tensor]):
    """Weights (n, heads, queries, keys) by layer, in order of use; a second use of a layer is ``name#2``."""

    def __init__(self) -> None:
        super().__init__()
        self.apart: set[str] = set()
        """Layers whose weights were computed beside the pass: the logits do not depend on these tensors."""

    def keep(self, layer: str, weights: Tensor, *, apart: bool = False) -> None:
        """Note the weights of one use of a layer."""
        uses = sum(name == layer or name.startswith(f"{layer}#") for name in self)
        name = layer if not uses else f"{layer}#{uses + 1}"
        self[name] = weights
        if apart:
            self.apart.add(name)


def attention_layers(module: nn.Module) -> list[str]:
    """Names of the layers that are known to attend before the module has run."""
    return [name for name, part in module.named_modules() if isinstance(part, nn.MultiheadAttention) or _offers(part)]


@contextmanager
def noticed_attention(module: nn.Module) -> Iterator[list[str]]:
    """A list that is no longer empty after the block if the module attended in it.

    That is, if it called `scaled_dot_product_attention`, or handed out weights of attention when asked: a ``config``
    that knows ``output_attentions`` is one of convolutional networks too.
    """
    seen: list[str] = []
    found = _Recorded()

    class Notice(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is F.scaled_dot_product_attention:
                seen.append("scaled_dot_product_attention")
            return func(*args, **(kwargs or {}))

    with ExitStack() as stack:
        for name, part in _outermost(module):
            stack.enter_context(_asked(part, name, found))
        stack.enter_context(Notice())
        yield seen
    seen.extend(found)


@contextmanager
def recorded_attention(module: nn.Module, *, watch: bool = False) -> Iterator[_Recorded]:
    """A dictionary that fills with the weights of each layer as the module runs; the tensors are those it goes on with.

    Attention is computed step by step meanwhile, where a fused kernel would form no weights. With ``watch`` each of
    the tensors takes part in a graph of gradients, also where nothing before it does.

    Covered are `nn.MultiheadAttention` and all that is made of it, calls of `scaled_dot_product_attention`, modules
    with ``attention_weights``, and models whose ``config`` knows ``output_attentions``, as those of Hugging Face.
    """
    found, running = _Recorded(), [""]
    with ExitStack() as stack:
        for name, part in module.named_modules():
            before = part.register_forward_pre_hook(partial(_enter, running, name))
            after = part.register_forward_hook(partial(_leave, running), always_call=True)
            stack.callback(before.remove)
            stack.callback(after.remove)
            if _offers(part):
                stack.enter_context(_offered(part, name, found, watch))
        for name, part in _outermost(module):
            stack.enter_context(_asked(part, name, found))
        stack.enter_context(_StepByStep(found, running, watch))
        yield found


class _StepByStep(TorchFunctionMode):
    """Forms the weights of every attention that torch computes, and notes them."""

    def __init__(self, found: _Recorded, running: list[str], watch: bool) -> None:
        super().__init__()
        self._found, self._running, self._watch = found, running, watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(*args, **kwargs)
        return func(*args, **kwargs)

    def _attend(  # noqa: PLR0917 (the signature of torch's own)
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if query.is_nested:
            raise UnsupportedError("attention weights of nested tensors cannot be observed: expected padded ones")
        if enable_gqa:
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
        weights = _weights(query, key, attn_mask, is_causal, scale)
        one_head = weights.ndim == 3
        weights = _attached(weights.unsqueeze(1) if one_head else weights, self._watch)
        self._found.keep(self._running[-1] or "attention", weights)
        weights = weights.squeeze(1) if one_head else weights
        return (F.dropout(weights, dropout_p) if dropout_p else weights) @ value

    def _multi_head(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        call = _SIGNATURE.bind(*args, **kwargs)
        call.apply_defaults()
        asked, average = call.arguments["need_weights"], call.arguments["average_attn_weights"]
        call.arguments["need_weights"] = False
        # A copy of torch's function that finds our attention where it looks for the fused one.
        function = types.FunctionType(
            F.multi_head_attention_forward.__code__,
            {**vars(F), "scaled_dot_product_attention": self._attend},
            argdefs=F.multi_head_attention_forward.__defaults__,
        )
        result, _ = function(*call.args, **call.kwargs)
        if not asked:
            return result, None
        weights = next(reversed(self._found.values()))
        weights = weights.mean(1) if average else weights
        return result, weights if call.arguments["query"].ndim == 3 else weights.squeeze(0)


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, causal: bool, scale: float | None) -> Tensor:
    """Weights (..., queries, keys) as `scaled_dot_product_attention` defines them; zero where all keys are masked."""
    scores = query * (query.shape[-1] ** -0.5 if scale is None else scale) @ key.transpose(-2, -1)
    if causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~allowed, -torch.inf)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    empty = (scores == -torch.inf).all(dim=-1, keepdim=True)
    return scores.masked_fill(empty, 0.0).softmax(dim=-1).masked_fill(empty, 0.0)


def _attached(weights: Tensor, watch: bool) -> Tensor:
    return weights.detach().requires_grad_() if watch and not weights.requires_grad else weights


def _enter(running: list[str], name: str, _module: nn.Module, _args: Any) -> None:
    running.append(name)


def _leave(running: list[str], _module: nn.Module, _args: Any, _output: Any) -> None:
    running.pop()


def _offers(part: nn.Module) -> bool:
    return callable(getattr(type(part), "attention_weights", None))


@contextmanager
def _offered(part: Any, name: str, found: _Recorded, watch: bool) -> Iterator[None]:
    """Note the weights that a module's own method makes within its ``forward``, or else ask for them after it."""
    own: Callable[..., Tensor] = part.attention_weights
    noted = 0

    def method(*args: Any, **kwargs: Any) -> Tensor:
        weights = _attached(own(*args, **kwargs), watch)
        found.keep(name, weights)
        return weights.clone() if watch else weights

    def start(_module: nn.Module, _args: Any) -> None:
        nonlocal noted
        noted = len(found)

    def ask(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any) -> None:
        if len(found) == noted:
            found.keep(name, own(*args, **kwargs), apart=True)

    handles = part.register_forward_pre_hook(start), part.register_forward_hook(ask, with_kwargs=True)
    vars(part)["attention_weights"] = method
    try:
        yield
    finally:
        del vars(part)["attention_weights"]
        for handle in handles:
            handle.remove()


def _asks(part: nn.Module) -> bool:
    return hasattr(getattr(part, "config", None), "output_attentions")


def _outermost(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Models with a ``config`` that are not part of another such model."""
    inside: list[str] = []
    for name, part in module.named_modules():
        if _asks(part) and not any(not outer or name.startswith(f"{outer}.") for outer in inside):
            inside.append(name)
            yield name, part


@contextmanager
def _asked(part: Any, name: str, found: _Recorded) -> Iterator[None]:
    """Let a model hand out its weights, unless it attends by a function of torch, where they are taken anyway."""
    config = part.config
    if getattr(config, "_attn_implementation", None) not in (None, "eager"):
        yield
        return
    before, noted = config.output_attentions, 0

    def start(_module: nn.Module, _args: Any) -> None:
        nonlocal noted
        noted = len(found)

    def take(_module: nn.Module, _args: Any, output: Any) -> None:
        weights = getattr(output, "attentions", None)
        if len(found) == noted and isinstance(weights, tuple | list):
            for index, value in enumerate(weights):
                if isinstance(value, Tensor):
                    found.keep(".".join(filter(None, (name, _ASKED, str(index)))), value)

    handles = part.register_forward_pre_hook(start), part.register_forward_hook(take)
    config.output_attentions = True
    try:
        yield
    finally:
        config.output_attentions = before
        for handle in handles:
            handle.remove()
