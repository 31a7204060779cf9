"""From a traced program to the network that bounds are computed on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xaibench.certify.affine import dense, moved
from xaibench.certify.network import Input, Network, Node, Operation
from xaibench.certify.operators import READERS, Value
from xaibench.classifiers.tracing import SQUASHES, constants_of, layer_of, leaves_of, operator_name
from xaibench.errors import UnsupportedError

__all__ = ["network_of"]


def network_of(program: torch.export.ExportedProgram) -> Network:
    """The network that a program of core ATen operators computes, up to its last softmax or sigmoid.

    A single output unit z becomes the logits (-z / 2, z / 2). An operation that has no bounds, or that lets samples
    act on each other, raises `UnsupportedError`.
    """
    return _Builder(program).build()


class _Builder:
    """Reads a graph node by node: what depends on the input becomes part of the network, all else is a constant."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        self._graph = program.graph
        self._constants = {name: value.clone() for name, value in constants_of(program).items()}
        self._nodes: list[Node] = []
        self._batch = 0

    def build(self) -> Network:
        """The whole network."""
        values: dict[Any, Any] = {}
        last = self._logits()
        for node in self._graph.nodes:
            if node.op == "placeholder":
                values[node] = self._placeholder(node)
            elif node is last or node.users:  # what is not used is an assertion on shapes, or the like
                try:
                    values[node] = self._call(node, values)
                except UnsupportedError as error:
                    layer = layer_of(node)
                    raise UnsupportedError(f"layer {layer}: {error}" if layer else str(error)) from None
            if node is last:
                break
        logits = values[last]
        if not isinstance(logits, Value):
            raise UnsupportedError("the model's outputs do not depend on its inputs")
        if logits.shape in ((), (1,)):
            halves = torch.tensor([[-0.5], [0.5]], dtype=torch.float64, device=self._device)
            column = self._add(moved(lambda x: x.reshape(len(x), 1), logits.shape), (1,), logits)
            self._add(dense(halves, None), (2,), column)
        return Network(tuple(self._nodes))

    def _logits(self) -> Any:
        """The node whose value classifies, before it is squashed."""
        (end,) = (node for node in self._graph.nodes if node.op == "output")
        last = end.args[0][0]
        return last.args[0] if operator_name(last) in SQUASHES else last

    def _placeholder(self, node: Any) -> Any:
        if node.name in self._constants:
            return self._constants[node.name]
        if self._nodes:
            raise UnsupportedError("the model takes several inputs: expected one")
        example = node.meta["val"]
        self._batch, self._device = int(example.shape[0]), example.device
        self._nodes.append(Node(operation=Input(), shape=tuple(example.shape[1:])))
        return Value(0, tuple(example.shape[1:]))

    def _call(self, node: Any, values: dict[Any, Any]) -> Any:
        args = torch.fx.map_arg(node.args, values.__getitem__)
        kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
        if not any(isinstance(item, Value) for item in leaves_of((args, kwargs))):
            return node.target(*args, **kwargs)
        name = operator_name(node)
        if name == "getitem":  # of the results of an operator with several, where the first is the one that counts
            if args[1] != 0:
                raise UnsupportedError("bounds know the first result of an operation alone: the network uses another")
            return args[0]
        if name not in READERS:
            raise UnsupportedError(f"bounds do not know the operation {name!r}")
        return READERS[name](self._add, self._output_shape(node), *_wide(args), **_wide(kwargs))

    def _output_shape(self, node: Any) -> tuple[int, ...]:
        """Of the operation's first result, without the batch."""
        result = node.meta["val"]
        result = result[0] if isinstance(result, tuple | list) else result
        if result.dtype not in (torch.float32, torch.float64):
            raise UnsupportedError(
                f"bounds hold in float32 or float64: {operator_name(node)!r} computes in {result.dtype}"
            )
        if result.ndim == 0 or result.shape[0] != self._batch:
            raise UnsupportedError(f"bounds are taken sample by sample: {operator_name(node)!r} mixes the batch")
        return tuple(result.shape[1:])

    def _add(self, operation: Operation, shape: tuple[int, ...], *parents: Value) -> Value:
        indices = tuple(parent.index for parent in parents)
        self._nodes.append(Node(operation=operation, parents=indices, shape=shape))
        return Value(len(self._nodes) - 1, shape)


def _wide(item: Any) -> Any:
    """Constants in float64."""
    return torch.fx.node.map_aggregate(
        item, lambda part: part.double() if isinstance(part, Tensor) and part.is_floating_point() else part
    )
