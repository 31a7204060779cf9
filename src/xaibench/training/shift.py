"""Adding to the token embeddings of a torch module while it runs: what text models are trained adversarially on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from xaibench.errors import InputError

__all__ = ["Shift"]


class Shift:
    """The embedding that takes a module's token ids."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def _embedding(self) -> nn.Embedding:
        """The first one, in order of definition."""
        found = next((part for part in self._module.modules() if isinstance(part, nn.Embedding)), None)
        if found is None:
            raise InputError("expected a network with an nn.Embedding for token ids, got none")
        return found

    def embeddings(self, x: Tensor) -> Tensor:
        """Embeddings (n, length, dimension) of token ids."""
        return self._embedding()(x)

    @contextmanager
    def of(self, shift: Tensor | None) -> Iterator[None]:
        """Add ``shift`` (n, length, dimension) to the embeddings of the passes in the block; None adds nothing."""
        if shift is None:
            yield
            return

        def hook(_module: nn.Module, _args: Any, output: Tensor) -> Tensor:
            return output + shift.to(output)

        handle = self._embedding().register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
