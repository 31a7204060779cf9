"""The registry of architectures."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Protocol

from xaibench.registry import Registry

__all__ = ["Architecture", "architectures"]


class Architecture(Protocol):
    """A network's configuration. ``classes`` and ``input_shape`` (no batch; channels first) are among its fields."""

    framework: ClassVar[Literal["torch", "keras"]]

    def build(self) -> Any:
        """An untrained `torch.nn.Module` or `keras.Model`; weights come from the framework's own random state."""
        ...


architectures: Registry[Architecture] = Registry("architecture")
