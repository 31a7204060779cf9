"""A model's graph from the point that is explained to its logits, run operation by operation under other rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from xaibench.classifiers.tracing import SQUASHES, constants_of, layer_of, leaves_of, operator_name
from xaibench.errors import UnsupportedError
from xaibench.types import Classifier

__all__ = ["Apply", "Graph", "graph_of", "where"]

Apply = Callable[[Any, Any, Any], Any]
"""What is done at a node that depends on the point: takes the node, its arguments and its keyword arguments."""

_SIZE = 509
"""Traced with so many samples, a prime, the numbers in a graph that stand for the size of the batch stick out."""
_LARGEST = 2**40
_SAME = {"_to_copy", "alias", "clone", "detach"}
_graphs: WeakKeyDictionary[Classifier, dict[tuple[Any, ...], Graph]] = WeakKeyDictionary()


class Graph:
    """The operations between a point and the logits; ``batch`` is the only size it can take, None if any."""

    def __init__(self, program: torch.export.ExportedProgram, *, text: bool, traced_with: int) -> None:
        constants = constants_of(program)
        for node in program.graph.nodes:
            if operator_name(node) in ("view", "_unsafe_view"):  # rules may lay results out in another way
                node.target = torch.ops.aten.reshape.default
        inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name not in constants]
        if len(inputs) != 1:
            raise UnsupportedError(f"the model takes {len(inputs)} inputs: expected one")
        (self._input,) = inputs
        self._last = _before_squash(program)
        self.leaf = _embedding(program, self._input) if text else self._input
        size = int(self._input.meta["val"].shape[0])
        self.batch = None if size == traced_with == _SIZE else size
        needed = _ancestors(self._last)
        self.nodes = [node for node in program.graph.nodes if node in needed]
        self.live = _descendants(self.leaf, self.nodes)
        if self._last not in self.live:
            raise UnsupportedError("the model's logits do not depend on its inputs")
        self._fixed = self._settle(constants)
        self._dead = _last_uses(self.nodes, keep={self._last, *self._fixed})

    def run(self, x: Tensor, point: Any, apply: Apply) -> Any:
        """What becomes the logits of a batch of inputs (n, ...) that stands at ``point``, before it has two columns.

        It comes in whatever form ``apply`` computes with.
        """
        values: dict[Any, Any] = dict(self._fixed)
        for node in self.nodes:
            if node is self.leaf:
                values[node] = point
            elif node is self._input:
                values[node] = x
            elif node not in values:
                arguments = self._arguments(node, len(x))
                args, kwargs = torch.fx.node.map_arg(arguments, values.__getitem__)
                values[node] = (apply if node in self.live else _plainly)(node, args, kwargs)
            for done in self._dead.get(node, ()):
                values.pop(done, None)
        return values[self._last]

    def _settle(self, constants: dict[str, Tensor]) -> dict[Any, Any]:
        """The values of all nodes that neither the input nor the size of the batch has a part in."""
        fixed: dict[Any, Any] = {}
        for node in self.nodes:
            if node.op == "placeholder":
                if node.name in constants:
                    fixed[node] = constants[node.name]
            elif node not in self.live and all(part in fixed for part in node.all_input_nodes):
                if self.batch is None and any(_is_batch(part) for part in leaves_of((node.args, node.kwargs))):
                    continue
                args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), fixed.__getitem__)
                fixed[node] = _plainly(node, args, kwargs)
        return fixed

    def _arguments(self, node: Any, n: int) -> Any:
        """Of a node, for ``n`` samples."""
        if self.batch is not None:
            return node.args, node.kwargs
        return torch.fx.node.map_aggregate(
            (node.args, node.kwargs), lambda part: cast(int, part) // _SIZE * n if _is_batch(part) else part
        )


def graph_of(model: Classifier, x: Tensor, *, any_size: bool = True, fresh: bool = False) -> Graph:
    """The graph of a model for batches shaped like ``x``, for any size of them or for this one.

    It is traced once and kept for as long as the model lives; ``fresh`` traces again. Raises `UnsupportedError` for
    models that have no graph or cannot be traced.
    """
    if not hasattr(model, "export"):
        raise UnsupportedError(f"the graph of operations is needed, and a model of {model.framework} has none to read")
    kept = _graphs.setdefault(model, {})
    key = (*x.shape[1:], None if any_size else len(x))
    if fresh or key not in kept:
        example = x[:1].expand(_SIZE, *x.shape[1:]) if any_size else x
        program = model.export(example)
        kept[key] = Graph(program, text=model.task == "text", traced_with=len(example))
    return kept[key]


def where(node: Any) -> str:
    """The layer and the operation of a node, for a message."""
    layer = layer_of(node)
    return f"the operation {operator_name(node)!r}" + (f" of layer {layer}" if layer else "")


def _plainly(node: Any, args: Any, kwargs: Any) -> Any:
    with torch.no_grad():
        return node.target(*args, **kwargs)


def _before_squash(program: torch.export.ExportedProgram) -> Any:
    """The node whose value classifies, before it is squashed."""
    (end,) = (node for node in program.graph.nodes if node.op == "output")
    last = end.args[0][0]
    while operator_name(last) in _SAME:
        last = last.args[0]
    return last.args[0] if operator_name(last) in SQUASHES else last


def _embedding(program: torch.export.ExportedProgram, entered: Any) -> Any:
    """The node that looks token ids up."""
    for node in program.graph.nodes:
        if operator_name(node) == "embedding":
            ids = node.args[1]
            while operator_name(ids) in _SAME:
                ids = ids.args[0]
            if ids is entered:
                return node
    raise UnsupportedError("the token ids enter no embedding as they are")


def _ancestors(last: Any) -> set[Any]:
    found, left = set(), [last]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return found


def _descendants(leaf: Any, nodes: list[Any]) -> set[Any]:
    found = {leaf}
    for node in nodes:
        if any(part in found for part in node.all_input_nodes):
            found.add(node)
    return found


def _last_uses(nodes: list[Any], keep: set[Any]) -> dict[Any, list[Any]]:
    """Which values are needed no more after each node."""
    seen, uses = set(keep), {}
    for node in reversed(nodes):
        uses[node] = [part for part in node.all_input_nodes if part not in seen]
        seen.update(node.all_input_nodes)
    return uses


def _is_batch(part: Any) -> bool:
    return type(part) is int and part != 0 and part % _SIZE == 0 and abs(part) < _LARGEST
