"""How much memory one sample takes on its way through a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["recorded_bytes"]


def recorded_bytes(run: Callable[[], object]) -> int:
    """Bytes of all that torch operations give in ``run``, views of the same memory counted once."""
    record = _Record()
    with record, torch.no_grad():
        run()
    return record.size


class _Record(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        self._kept: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else (found,):
            if isinstance(value, Tensor) and not _is_view(func):
                self.size += value.numel() * value.element_size()
        return found


def _is_view(func: Any) -> bool:
    return bool(func._schema.returns) and func._schema.returns[0].alias_info is not None
