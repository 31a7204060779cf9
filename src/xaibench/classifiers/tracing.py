"""A torch model as one graph, for analyses that must see every operation and not only run it."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any, cast

import torch
from torch import Tensor, nn

from xaibench.classifiers.interface import Interface
from xaibench.classifiers.outputs import classifying
from xaibench.classifiers.patching import analysis
from xaibench.errors import UnsupportedError, first_line

__all__ = ["SQUASHES", "constants_of", "frozen", "layer_of", "leaves_of", "operator_name", "traced"]

SQUASHES = frozenset({"_log_softmax", "_softmax", "sigmoid"})
"""Operators that logits go through last, to become probabilities."""


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
            return _without_restriding(torch.export.export(whole, (x,), strict=False).run_decompositions())
        except UnsupportedError:
            raise
        except Exception as error:  # whatever the module brings about inside torch
            raise UnsupportedError(f"the model cannot be traced as a graph: {first_line(error)}") from error


def _without_restriding(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program without views that only name other strides for axes of length one.

    Pooling to a single place makes one where channels lie last in memory: it changes no value, but is no operation that
    anything has a rule for.
    """
    graph = program.graph
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten.as_strided.default):
        before, after = node.args[0].meta["val"], node.meta["val"]
        strides = zip(before.shape, before.stride(), after.stride(), strict=False)
        if (
            before.shape == after.shape
            and before.storage_offset() == after.storage_offset()
            and all(size == 1 or one == other for size, one, other in strides)
        ):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    return program


def constants_of(program: torch.export.ExportedProgram) -> dict[str, Tensor]:
    """All parameters, buffers and constants, by the names of their placeholders; the memory is the program's own."""
    signature = program.graph_signature
    sources = {**program.state_dict, **program.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    return {place: sources[name].detach() for place, name in names.items()}


def operator_name(node: Any) -> str:
    """Name of the operator of a node, without its overload."""
    return str(getattr(node.target, "__name__", node.target)).partition(".")[0]


def layer_of(node: Any) -> str:
    """The layer that a node belongs to, as ``'name' (kind)``; nothing where that is not known."""
    stack: list[tuple[str, str]] = [("", ""), *node.meta.get("nn_module_stack", {}).values()]
    path, kind = stack[-1]
    name = path.removeprefix("module").removeprefix(".")
    return f"{name!r} ({kind.rpartition('.')[2]})" if name else ""


def leaves_of(item: Any) -> Iterator[Any]:
    """What an operation's arguments hold in the end, whatever lists and dictionaries it lies in."""
    if isinstance(item, tuple | list):
        for part in item:
            yield from leaves_of(part)
    elif isinstance(item, dict):
        yield from leaves_of(tuple(item.values()))
    else:
        yield item


def frozen(module: nn.Module, interface: Interface, x: Tensor) -> Callable[[Tensor], Tensor] | None:
    """A copy of the module, as it is now, for forward passes alone, with its layers fused; None if there is no such.

    Fused kernels and weights that are laid out once make small nets on a CPU two to three times as fast. torch calls
    this compiler deprecated in favour of one that needs a C++ compiler on the user's machine.
    """
    with analysis(module), _quiet(), torch.no_grad():
        try:
            # A copy, for what is frozen shares the memory of weights that are not laid out anew.
            whole = _FromInputUnits(copy.deepcopy(module), interface)
            whole.training = False
            graph = torch.jit.freeze(torch.jit.trace(whole, x, check_trace=False))
            return cast(Callable[[Tensor], Tensor], torch.jit.optimize_for_inference(graph))
        except Exception:  # whatever the module or the compiler brings about: it is only a matter of speed
            return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch says to its own developers, some of it straight to stderr, from the user."""
    loggers = {logger: logger.level for logger in map(logging.getLogger, ("torch.export", "torch.fx"))}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)
