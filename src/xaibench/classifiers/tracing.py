"""A torch model as one graph, for analyses that must see every operation and not only run it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from xaibench.classifiers.interface import Interface
from xaibench.classifiers.outputs import classifying
from xaibench.classifiers.patching import analysis
from xaibench.errors import UnsupportedError, first_line

__all__ = ["traced"]


class _FromInputUnits(nn.Module):
    def __init__(self, module: nn.Module, interface: Interface) -> None:
        super().__init__()
        self.module = module
        self._interface = interface

    def forward(self, x: Tensor) -> Tensor:
        return classifying(self.module(self._interface.normalise(x)))


def traced(module: nn.Module, interface: Interface, x: Tensor) -> torch.export.ExportedProgram:
    """The program that turns a batch shaped like ``x``, in input units, into the module's classifying output.

    It consists of core ATen operators, none of which works in place. The module is left as it was. What
    `torch.export` cannot trace raises `UnsupportedError`.
    """
    with analysis(module), _quiet(), torch.no_grad():
        try:
            whole = _FromInputUnits(module, interface)
            whole.training = False  # the module below is so already, and programs cannot be told
            return torch.export.export(whole, (x,), strict=False).run_decompositions()
        except UnsupportedError:
            raise
        except Exception as error:  # whatever the module brings about inside torch
            raise UnsupportedError(f"the model cannot be traced as a graph: {first_line(error)}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says to its own developers from the user."""
    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
