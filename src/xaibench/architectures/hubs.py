"""Networks of `transformers` and timm, built from their configuration without weights; their packages load then."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from torch import nn

from xaibench.architectures.base import architectures
from xaibench.classifiers.hubs import HubNetwork, build_timm, build_transformers
from xaibench.errors import InputError

__all__ = ["Timm", "Transformers"]


@architectures.register("transformers")
@dataclass(frozen=True, kw_only=True)
class Transformers:
    """An image classifier of `transformers` (Wolf et al., EMNLP 2020): a kind of model and its settings.

    ``network_shape`` is what the network itself takes. Pictures of another size (``input_shape``) are scaled to it, and
    grey ones repeated in its channels, after which ``mean`` and ``std`` are subtracted and divided where given.
    """

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    model_type: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    network_shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width)."""
        if not self.model_type:
            raise InputError("expected `model_type` of a network of transformers, such as vit, got none")
        return _fitted(build_transformers(self.model_type, self.config, self.classes), self)


@architectures.register("timm")
@dataclass(frozen=True, kw_only=True)
class Timm:
    """A network of timm (Wightman, *PyTorch image models*, 2019) by its name, with arguments.

    ``network_shape``, ``mean`` and ``std`` are as those of `Transformers`.
    """

    framework: ClassVar[Literal["torch"]] = "torch"
    input_shape: tuple[int, ...]
    classes: int
    model: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    network_shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def build(self) -> nn.Module:
        """Logits from (n, channels, height, width)."""
        shape = self.network_shape or self.input_shape
        return _fitted(build_timm(self.model, self.args, shape, self.classes), self)


def _fitted(network: nn.Module, told: Transformers | Timm) -> nn.Module:
    channels, *size = told.network_shape or told.input_shape
    return HubNetwork(network, channels=channels, size=tuple(size), mean=told.mean, std=told.std)
