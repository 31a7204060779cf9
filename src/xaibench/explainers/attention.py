"""Explainers that follow attention weights from what the logit reads back to the parts of the input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError, unknown_name
from xaibench.explainers.attribution import Attribution
from xaibench.explainers.base import Explainer, Targets, explainers
from xaibench.explainers.target import TargetLogit
from xaibench.types import AttentionGradient, Capability, Classifier, Inputs

__all__ = ["AttentionGradientWeighted", "AttentionRaw", "AttentionRollout"]

Queries = Literal["read", "first", "all"]
"""The queries whose attention counts, averaged: those that the logit ``read``s in the last layer, found by its
gradient (the class token, or all words but padding); the ``first``; or ``all``."""

_Flow = Callable[[Mapping[str, AttentionGradient]], Tensor]
"""From the attention layers of a batch, in order of use, to what flows from keys to queries (n, queries, keys)."""

_ANY_CLASS = "the same for every class: attention weights do not depend on the target"


@explainers.register("attention_raw")
@dataclass(frozen=True, kw_only=True)
class AttentionRaw:
    """The attention weights of one layer, averaged over its heads, and over the queries that the logit reads.

    Bahdanau et al., *Neural machine translation by jointly learning to align and translate* (ICLR 2015), read as an
    explanation; Jain & Wallace, *Attention is not explanation* (NAACL 2019) show how little it may explain. ``layer``
    is a name in `Classifier.attention`; without one, the last layer is taken. See `AttentionRollout` for ``grid``.
    """

    name: ClassVar[str]

    layer: str | None = None
    queries: Queries = "read"
    grid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_grid(self.grid)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`; an unknown layer raises `InputError`."""

        def weights(layers: Mapping[str, AttentionGradient]) -> Tensor:
            if self.layer is not None and self.layer not in layers:
                raise unknown_name("attention layer", self.layer, layers)
            return (_last(layers) if self.layer is None else layers[self.layer]).weights.mean(dim=1)

        return _followed(self, model, inputs, targets, weights, seed=seed, notes=(_ANY_CLASS,))


@explainers.register("attention_rollout")
@dataclass(frozen=True, kw_only=True)
class AttentionRollout:
    """Attention weights multiplied through all layers, half of each layer being the residual connection.

    Abnar & Zuidema, *Quantifying attention flow in transformers* (ACL 2020). For images, tokens are read as a grid of
    square patches, after an optional class token; ``grid`` gives rows and columns where they are not, as (4, 1) for
    four rows of pixels.
    """

    name: ClassVar[str]

    queries: Queries = "read"
    grid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_grid(self.grid)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""

        def rollout(layers: Mapping[str, AttentionGradient]) -> Tensor:
            flow = None
            for layer in layers.values():
                attention = layer.weights.double().mean(dim=1)
                step = attention / 2 + torch.eye(attention.shape[-1], dtype=attention.dtype).to(attention) / 2
                step = step / step.sum(dim=-1, keepdim=True)
                flow = step if flow is None else step @ flow
            assert flow is not None
            return flow

        return _followed(self, model, inputs, targets, rollout, seed=seed, notes=(_ANY_CLASS,))


@explainers.register("attention_gradient")
@dataclass(frozen=True, kw_only=True)
class AttentionGradientWeighted:
    """Attention weights times their gradients, where positive, gathered through all layers: by class.

    Chefer, Gur & Wolf, *Generic attention-model explainability for interpreting bi-modal and encoder-decoder
    transformers* (ICCV 2021), for self-attention. The share of each query in itself, which the residual connection
    gives all alike, is left out. See `AttentionRollout` for ``grid``.
    """

    name: ClassVar[str]

    queries: Queries = "read"
    grid: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_grid(self.grid)

    def __call__(self, model: Classifier, inputs: Inputs, targets: Targets = None, *, seed: int = 0) -> Attribution:
        """See `Explainer`."""

        def relevance(layers: Mapping[str, AttentionGradient]) -> Tensor:
            gained = None
            for layer in layers.values():
                step = (layer.weights.double() * layer.gradient.double()).clamp_min(0).mean(dim=1)
                # With R = I + gained, the update R + step @ R gains step + step @ gained.
                gained = step if gained is None else gained + step + step @ gained
            assert gained is not None
            return gained

        return _followed(self, model, inputs, targets, relevance, seed=seed)


def _followed(
    explainer: AttentionRaw | AttentionRollout | AttentionGradientWeighted,
    model: Classifier,
    inputs: Inputs,
    targets: Targets,
    flow: _Flow,
    *,
    seed: int,
    notes: tuple[str, ...] = (),
) -> Attribution:
    """Values in the input's shape from the ``flow`` that an explainer sees in the attention layers."""
    logit = TargetLogit(explainer, model, inputs, targets, needs=(Capability.GRADIENTS, Capability.ATTENTION))
    values, layout = [], ""
    for rows in logit.split(len(logit.x)):
        layers = model.attention_gradient(logit.x[rows], logit.target[rows])
        logit.count(forward=len(rows), backward=len(rows))
        _check_layers(explainer, layers, len(rows))
        tokens = _read(explainer.queries, flow(layers), _last(layers))
        part, layout = _on_inputs(tokens, logit.x[rows], explainer.grid)
        values.append(part)
    return logit.attribution(torch.cat(values).float(), seed=seed, notes=(*notes, layout) if layout else notes)


def _check_layers(explainer: Explainer, layers: Mapping[str, AttentionGradient], n: int) -> None:
    tokens = next(iter(layers.values())).weights.shape[-1]
    for name, layer in layers.items():
        shape = tuple(layer.weights.shape)
        if len(shape) != 4 or shape[0] != n:
            raise UnsupportedError(
                f"{explainer.name} needs attention over the whole input as ({n}, heads, queries, keys): layer {name!r}"
                f" has {shape}"
            )
        if shape[2:] != (tokens, tokens) and not isinstance(explainer, AttentionRaw):
            raise UnsupportedError(
                f"{explainer.name} needs the same tokens in all attention layers: layer {name!r} has {shape[2]} queries"
                f" and {shape[3]} keys, the first one has {tokens} keys"
            )


def _last(layers: Mapping[str, AttentionGradient]) -> AttentionGradient:
    return list(layers.values())[-1]


def _read(queries: Queries, flow: Tensor, last: AttentionGradient) -> Tensor:
    """(n, keys), float64: the mean of the flow (n, queries, keys) over the queries that count."""
    if queries == "first":
        return flow[:, 0].double()
    reads = torch.ones_like(flow[..., 0], dtype=torch.float64)
    if queries == "read" and last.gradient.shape[2] == flow.shape[1]:
        seen = (last.gradient != 0).any(dim=3).any(dim=1)
        # A logit without any gradient there reads nothing; all queries are as good.
        reads = (seen | ~seen.any(dim=1, keepdim=True)).double()
    reads = reads / reads.sum(dim=1, keepdim=True)
    return (reads[:, None] @ flow.double()).squeeze(1)


def _on_inputs(tokens: Tensor, x: Tensor, grid: tuple[int, ...]) -> tuple[Tensor, str]:
    """Values of tokens (m, keys) in the shape of inputs ``x`` (m, ...), and a clause on how tokens were read.

    Every pixel of a patch, in all channels, has the value of its token.
    """
    keys = tokens.shape[1]
    if x.ndim == 2:
        length = x.shape[1]
        if keys not in (length, length + 1):
            raise UnsupportedError(
                f"expected attention over {length} tokens, one for each part of the input, got {keys}"
            )
        return tokens[:, keys - length :], "" if keys == length else "the first token is not part of the input"
    height, width = x.shape[-2:]
    rows, columns = grid or _square_patches(keys, height, width)
    if rows * columns not in (keys, keys - 1):
        raise InputError(f"expected `grid` as rows and columns of {keys} tokens, got {rows} x {columns}")
    patches = tokens[:, keys - rows * columns :].reshape(-1, 1, rows, columns)
    note = f"tokens read as {rows} x {columns} patches" + ("" if rows * columns == keys else " after a class token")
    return F.interpolate(patches, size=(height, width), mode="nearest-exact").expand(x.shape), note


def _square_patches(keys: int, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of square patches that fill the image with as many tokens, or with one less."""
    for side in range(1, min(height, width) + 1):
        rows, columns = height // side, width // side
        if height % side == width % side == 0 and rows * columns in (keys, keys - 1):
            return rows, columns
    raise UnsupportedError(
        f"expected `grid`, the rows and columns of tokens, for {keys} tokens do not form square patches of"
        f" {height} x {width} pixels"
    )


def _check_grid(grid: tuple[int, ...]) -> None:
    if grid and (len(grid) != 2 or min(grid) < 1):
        raise InputError(f"expected `grid` as rows and columns, got {grid}")
