"""Quantisation: weights as whole numbers of few bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xaibench.classifiers.packed import packed
from xaibench.compression.base import Job, compressors
from xaibench.compression.copies import save_state, write_copy
from xaibench.compression.kernels import kernel_names, torch_module
from xaibench.errors import InputError, UnsupportedError

__all__ = ["Quantize"]


@compressors.register("quantize")
@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Weights as 8-bit whole numbers, with a scale for each output channel; activations stay in float32.

    Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference* (2018), section 3.1: symmetric, per
    channel, after training. The file holds the numbers and the scales, some quarter of the size; a network that is
    loaded computes in float32 with exactly these weights, so gradients are exact and the time of a pass is as before.

    Args:
        dtype: ``int8``.
    """

    dtype: Literal["int8"] = "int8"

    @property
    def suffix(self) -> str:
        """The type."""
        return self.dtype

    def __call__(self, job: Job) -> int:
        """See `Compressor`; a Keras model raises `UnsupportedError`."""
        if job.card.framework != "torch":
            raise UnsupportedError(
                f"quantize needs a torch model, and {job.card.name} is a Keras one: a .keras file holds its weights in"
                " float32, so the copy would be no smaller; prune or distill it"
            )
        if job.epochs:
            raise InputError(f"expected no epochs with quantize, which follows training, got {job.epochs}")
        module = torch_module(job)
        state = packed(module.state_dict(), kernel_names(module))
        return write_copy(job, lambda folder: save_state(state, folder))
