"""Copies of models with random weights, for the check that an explanation looks at what a model has learned.

Adebayo et al., *Sanity checks for saliency maps* (NeurIPS 2018). Weights with two dimensions or more (kernels,
embeddings) are drawn from a normal distribution with mean zero and the root mean square that they had, so that signals
keep about their size; vectors (biases, scales) keep their numbers in a random order, so that positive ones stay
positive. What is not a weight stays: statistics of normalisation layers, positions, preprocessing.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from xaibench.classifiers.keras_layers import TRACING, named_layers
from xaibench.classifiers.patching import analysis
from xaibench.errors import UnsupportedError, first_line
from xaibench.rng import derive_seed, permutation

__all__ = ["cloned_keras", "redraw_keras", "redrawn_module"]


def redrawn_module(module: nn.Module, seed: int, layers: Sequence[str] | None) -> nn.Module:
    """A copy in evaluation mode with the weights of the named layers, or all weights, redrawn."""
    with analysis(module), _copying():
        twin = copy.deepcopy(module)
    parts = [twin] if layers is None else [twin.get_submodule(name) for name in layers]
    chosen = {id(value) for part in parts for value in part.parameters()}
    with torch.no_grad():
        for name, value in twin.named_parameters():
            if id(value) in chosen and value.is_floating_point():
                value.copy_(_redrawn(value, seed, name))
    return twin


def cloned_keras(model: Any) -> Any:
    """Another model of the same layers, with weights of its own."""
    import keras

    functional = isinstance(model, keras.Sequential) or hasattr(model, "_run_through_graph")
    state = random.getstate()  # layers draw their seeds from Python's own generator
    try:
        with TRACING, _copying():
            return keras.models.clone_model(model) if functional else copy.deepcopy(model)
    finally:
        random.setstate(state)


def redraw_keras(twin: Any, model: Any, seed: int, layers: Sequence[str] | None) -> None:
    """Give ``twin``, a clone, the weights of ``model``, with those of the named layers, or all, redrawn."""
    if [tuple(value.shape) for value in twin.weights] != [tuple(value.shape) for value in model.weights]:
        raise UnsupportedError("the model cannot be copied: the copy has other weights")
    parts = named_layers(twin)
    roots = [twin] if layers is None else [parts[name] for name in layers]
    chosen = {id(value) for root in roots for value in _trained(root)}
    for index, (value, source) in enumerate(zip(twin.weights, model.weights, strict=True)):
        before = torch.from_numpy(source.numpy().copy())
        drawn = id(value) in chosen and before.is_floating_point()
        value.assign((_redrawn(before, seed, str(index)) if drawn else before).numpy())


def _trained(root: Any) -> Iterator[Any]:
    """Variables that layers made to be trained, also where they are frozen."""
    for layer in root._flatten_layers():
        yield from layer._trainable_variables


def _redrawn(value: Tensor, seed: int, name: str) -> Tensor:
    if value.ndim < 2:
        return value.flatten()[permutation(value.numel(), seed, "redrawn", name).to(value.device)].view_as(value)
    generator = torch.Generator().manual_seed(derive_seed(seed, "redrawn", name))
    normal = torch.randn(value.shape, generator=generator).to(value.device)
    return (normal * value.float().square().mean().sqrt()).to(value.dtype)


@contextmanager
def _copying() -> Iterator[None]:
    """Say in one line what cannot be copied."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about how it copies graphs itself
            yield
    except Exception as error:  # whatever the parts of a model bring about
        raise UnsupportedError(f"the model cannot be copied: {first_line(error)}") from error
