"""A program of `torch.export` (``.pt2``) as a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import Unpack

from xaibench.classifiers.archive import load_exported
from xaibench.classifiers.base import ModelClassifier
from xaibench.classifiers.interface import Interface, Options
from xaibench.classifiers.outputs import classifying
from xaibench.classifiers.torch import TorchEngine
from xaibench.classifiers.tracing import traced
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Capability

__all__ = ["ExportedClassifier"]

_REASON = "an exported program is one graph without layers"
_SOFTMAX = {"aten._softmax.default", "aten.log_softmax.int", "aten.softmax.int"}
_CASTS = {"aten._to_copy.default", "aten.to.dtype", "aten.to.dtype_layout"}
_LACKS = dict.fromkeys(
    (Capability.ACTIVATIONS, Capability.ATTENTION, Capability.EMBEDDINGS, Capability.TORCH_MODULE), _REASON
)


class ExportedClassifier(ModelClassifier):
    """The program in a ``.pt2`` file, or an `ExportedProgram`; exported with one batch size it runs in such pieces."""

    def __init__(self, program: torch.export.ExportedProgram | str | Path, **options: Unpack[Options]) -> None:
        if isinstance(program, str | Path):
            program = load_exported(Path(program))
        if not isinstance(program, torch.export.ExportedProgram):
            raise InputError(f"expected a torch.export program, got {type(program).__name__}")
        interface = Interface.of(options)
        batch, *shape = _input_shape(program)
        # The guards, which are Python in the file, are left out: shapes are checked here.
        module: Any = program.module(check_guards=False)
        if interface.outputs != "logits":
            _cut_squash(module)
        if batch is not None:
            module = _FixedBatch(module, batch)
        engine = TorchEngine(module, interface, framework="exported", input_shape=tuple(shape), lacks=_LACKS)
        super().__init__(engine, interface)
        self._batch = batch

    def export(self, x: Tensor) -> torch.export.ExportedProgram:
        """The program from input units on, in core ATen operators; see `TorchClassifier.export`.

        Made for one batch size, it stays so, whatever that of ``x``.
        """
        x = self._read(x)
        example = x if self._batch is None else x[:1].expand(self._batch, *x.shape[1:])
        return traced(cast(TorchEngine, self._engine).module, self._interface, example)


class _FixedBatch(nn.Module):
    """Runs a program that takes exactly ``size`` samples, on any number of them."""

    def __init__(self, program: nn.Module, size: int) -> None:
        super().__init__()
        self.program = program
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Pieces of ``size``, the last one filled up with its first sample."""
        if len(x) == self.size:
            return classifying(self.program(x))
        short = -len(x) % self.size
        full = torch.cat([x, x[:1].expand(short, *x.shape[1:])]) if short else x
        pieces = [classifying(self.program(piece)) for piece in full.split(self.size)]
        return torch.cat(pieces)[: len(x)]


def _cut_squash(module: Any) -> None:
    """Let a graph that ends in softmax over classes, or in a sigmoid, return what goes into it."""
    (end,) = (node for node in module.graph.nodes if node.op == "output")
    results = end.args[0]
    several = isinstance(results, tuple | list)
    last = results[0] if several else results
    while str(getattr(last, "target", "")) in _CASTS:
        last = last.args[0]
    name = str(getattr(last, "target", ""))
    over_classes = name in _SOFTMAX and last.args[1] in (1, -1)
    if over_classes or name == "aten.sigmoid.default":
        end.args = ((last.args[0], *results[1:]) if several else last.args[0],)
        module.recompile()


def _input_shape(program: torch.export.ExportedProgram) -> tuple[int | None, ...]:
    """Of the only tensor input; free sizes are None."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    tensors = [
        values[name] for name in program.graph_signature.user_inputs if isinstance(values.get(str(name)), Tensor)
    ]
    if len(tensors) != 1:
        raise UnsupportedError(f"the program takes {len(tensors)} tensors: expected one")
    return tuple(size if isinstance(size, int) else None for size in tensors[0].shape)
