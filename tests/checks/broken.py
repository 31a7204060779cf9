"""Defences that look robust and are not, around a network that is not robust at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xaibench import load_model
from xaibench.classifiers import TorchClassifier


class Before(nn.Module):
    """A network that sees its inputs only after a function was applied to them."""

    def __init__(self, change: Callable[[Tensor], Tensor], net: nn.Module) -> None:
        super().__init__()
        self.change = change
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(self.change(x))


class After(nn.Module):
    """A network whose logits are passed through a function."""

    def __init__(self, net: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.change = change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.net(x))


class Flipped(torch.autograd.Function):
    """The identity with the gradient of its negative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return -gradient


class StraightThrough(torch.autograd.Function):
    """Rounding with the gradient of the identity."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return quantised(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


def quantised(x: Tensor) -> Tensor:
    return (x * 4).round() / 4


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def shattered(x: Tensor) -> Tensor:
    return x + 0.3 * torch.sin(400 * math.pi * x)


def median(x: Tensor) -> Tensor:
    """A median filter that lets a gradient of something else through."""
    patches = F.unfold(F.pad(x.detach(), (1, 1, 1, 1), mode="replicate"), 3).view(len(x), 9, 8, 8)
    return patches.median(dim=1, keepdim=True).values + 0.1 * (x - x.detach()).flip(-1)


def clipped(x: Tensor) -> Tensor:
    return ((x - 0.53) * 1000).clamp(0, 1)


def standardised(x: Tensor) -> Tensor:
    return (x - x.mean(dim=0)) / x.std(dim=0, correction=0).clamp_min(0.1) * 0.37 + 0.3


def through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.detach().cpu().numpy().copy()).to(x)


def net() -> nn.Module:
    """The network of digits-cnn, with its normalisation."""
    shipped = load_model("digits-cnn")
    assert isinstance(shipped, TorchClassifier)
    moments = shipped._interface.moments(4)
    assert moments is not None
    mean, std = moments
    return Before(lambda x: (x - mean) / std, shipped.module)


BROKEN: dict[str, Callable[[], nn.Module]] = {
    "vanishing": lambda: After(net(), lambda logits: logits * 1e4),
    "quantised": lambda: Before(quantised, net()),
    "straight-through": lambda: Before(StraightThrough.apply, net()),
    "noise": lambda: Before(noisy, net()),
    "shattered": lambda: Before(shattered, net()),
    "detached-median": lambda: Before(median, net()),
    "through-numpy": lambda: Before(through_numpy, net()),
    "softmax-twice": lambda: nn.Sequential(net(), nn.Softmax(dim=1), nn.Softmax(dim=1)),
    "flipped": lambda: Before(Flipped.apply, net()),
    "clipped": lambda: Before(clipped, net()),
    "batch-norm": lambda: Before(standardised, net()),
}


def broken(name: str) -> TorchClassifier:
    """A broken defence by name."""
    return TorchClassifier(BROKEN[name](), input_shape=(1, 8, 8))
