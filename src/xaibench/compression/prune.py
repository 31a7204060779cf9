"""Pruning: the smallest weights become zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from xaibench.classifiers.packed import is_packed, zeroed
from xaibench.classifiers.weights import load_keras
from xaibench.compression.base import Job, compressors
from xaibench.compression.copies import save_state, write_copy
from xaibench.compression.kernels import keras_kernels, torch_kernels, torch_module
from xaibench.errors import InputError

__all__ = ["Prune", "smallest_removed"]


@compressors.register("prune")
@dataclass(frozen=True, kw_only=True)
class Prune:
    """Zero the smallest weights of all kernels together, and train on with those that are left.

    Han et al., *Learning both weights and connections for efficient neural networks* (NeurIPS 2015); the threshold is
    one for the whole network. With epochs, training goes on by the recipe that made the model at ``rate`` times its
    learning rate, and what is zero stays zero. The file and the time of a pass stay as they are: zeros are stored and
    multiplied like other numbers. A quantised model stays quantised, and cannot be trained on.

    Args:
        amount: share of the weights that become zero, above 0 and below 1.
        rate: the learning rate of further training, as a factor on the recipe's.
    """

    amount: float = 0.5
    rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.amount < 1:
            raise InputError(f"expected `amount` > 0 and < 1, got {self.amount}")
        if not self.rate > 0:
            raise InputError(f"expected `rate` > 0, got {self.rate}")

    @property
    def suffix(self) -> str:
        """Such as ``pruned50``."""
        return f"pruned{self.amount * 100:g}".replace(".", "-")

    def __call__(self, job: Job) -> int:
        """See `Compressor`; epochs for a quantised model raise `InputError`."""
        if job.epochs and job.card.framework == "torch" and is_packed(load_file(job.weights)):
            raise InputError(
                f"expected no epochs for {job.card.name}, which is quantised, got {job.epochs}: whole numbers cannot be"
                " trained on; prune and train the model that it was made from, then quantise that"
            )
        write = self._write_torch if job.card.framework == "torch" else self._write_keras
        return write_copy(job, lambda folder: write(job, folder), rate=self.rate)

    def _write_torch(self, job: Job, folder: Path) -> None:
        module = torch_module(job)
        kernels = torch_kernels(module)
        with torch.no_grad():
            for kernel, value in zip(kernels, smallest_removed(kernels, self.amount), strict=True):
                kernel.copy_(value)
        stored = load_file(job.weights)
        state = module.state_dict()
        save_state(zeroed(stored, state) if is_packed(stored) else state, folder)

    def _write_keras(self, job: Job, folder: Path) -> None:
        model = load_keras(job.weights)
        kernels = keras_kernels(model)
        values = [torch.from_numpy(kernel.numpy()) for kernel in kernels]
        for kernel, value in zip(kernels, smallest_removed(values, self.amount), strict=True):
            kernel.assign(value.numpy())
        model.save(folder / job.weights.name, include_optimizer=False)


def smallest_removed(kernels: Sequence[Tensor], amount: float) -> list[Tensor]:
    """Copies of ``kernels`` in which a share ``amount`` of all their numbers is zero, the smallest in magnitude."""
    from torch.nn.utils import prune

    flat = torch.cat([kernel.detach().flatten() for kernel in kernels])
    mask = prune.L1Unstructured(amount).compute_mask(flat, torch.ones_like(flat))
    parts = (flat * mask).split([kernel.numel() for kernel in kernels])
    return [part.reshape(kernel.shape) for part, kernel in zip(parts, kernels, strict=True)]
