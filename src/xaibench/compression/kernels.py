"""The weights that compression acts on: matrices and kernels, as weight decay does; not biases and normalisation."""

from __future__ import annotations

from typing import Any

from torch import nn

from xaibench.classifiers import TorchClassifier
from xaibench.compression.base import Job
from xaibench.errors import InputError
from xaibench.training.learner import is_decayed
from xaibench.zoo import load_model

__all__ = ["keras_kernels", "kernel_names", "torch_kernels", "torch_module"]


def torch_module(job: Job) -> nn.Module:
    """The network of a torch model, read anew."""
    model = load_model(job.folder)
    assert isinstance(model, TorchClassifier)
    return model.module


def torch_kernels(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of two or more dimensions, each once; a network without any raises `InputError`."""
    return _some([p for p in module.parameters() if p.is_floating_point() and is_decayed(tuple(p.shape))])


def kernel_names(module: nn.Module) -> set[str]:
    """Their names in the state of the module: all of them where several share one parameter."""
    kernels = {id(kernel) for kernel in torch_kernels(module)}
    return {name for name, p in module.named_parameters(remove_duplicate=False) if id(p) in kernels}


def keras_kernels(model: Any) -> list[Any]:
    """Trainable variables of two or more dimensions; a network without any raises `InputError`."""
    return _some([v for v in model.trainable_variables if is_decayed(tuple(v.shape))])


def _some(kernels: list[Any]) -> list[Any]:
    if not kernels:
        raise InputError("expected a network with weights of two or more dimensions, got none")
    return kernels
