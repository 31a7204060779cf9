"""Several processes that train one network: each takes its share of every batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Processes"]


class Processes:
    """The processes that `accelerate launch` or `torchrun` started, or the only one.

    Every method that speaks to the others must be called by all of them.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self.count: int = accelerator.num_processes
        self.index: int = accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this is the first of them."""
        return self.index == 0

    def wait(self) -> None:
        """A barrier."""
        self._accelerator.wait_for_everyone()

    def share(self, size: int) -> tuple[Tensor, float]:
        """Which rows of a batch this process takes, and what part of the batch they are.

        One that would be left without rows takes them all and counts for nothing: it still meets the others.
        """
        rows = torch.arange(size)
        own = rows[self.index :: self.count]
        return (own, len(own) / size) if len(own) else (rows, 0.0)

    @torch.no_grad()
    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes."""
        if self.count > 1:
            self._at_once(list(tensors), lambda flat: self._accelerator.reduce(flat, reduction="sum"))

    @torch.no_grad()
    def follow_first(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of the first process."""
        from accelerate.utils import broadcast

        if self.count > 1:
            self._at_once(list(tensors), broadcast)

    def agreed(self, figures: dict[str, Any]) -> dict[str, Any]:
        """The figures of the first process, so that all decide alike what to do."""
        from accelerate.utils import broadcast_object_list

        if self.count == 1:
            return figures
        (found,) = broadcast_object_list([figures])
        return dict(found)

    def _at_once(self, tensors: list[Tensor], exchange: Any) -> None:
        """Exchange all tensors of a kind together: a message costs more than its length."""
        for dtype in sorted({tensor.dtype for tensor in tensors}, key=str):
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = exchange(torch.cat([tensor.detach().flatten() for tensor in alike]))
            for tensor, part in zip(alike, flat.split([tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(part.view(tensor.shape))
