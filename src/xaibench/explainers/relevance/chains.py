"""Which operations after a linear layer belong to it: batch norm, a bias that is added later, and the like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from xaibench.classifiers.tracing import operator_name
from xaibench.explainers.relevance.graph import Graph
from xaibench.explainers.relevance.ruled import transposed

__all__ = ["Chain", "chains_of", "entrance_of", "is_affine", "live_arguments"]

_FACTORS = ([0], [1])
_LAYERS = {"addmm": ([1], [2]), "bmm": _FACTORS, "convolution": ([0],), "matmul": _FACTORS, "mm": _FACTORS}
"""Linear operations, and at which places of their arguments the one input may be."""
_NORM = "_native_batch_norm_legit_no_training"
_TURNS = {"_to_copy", "alias", "clone", "getitem", "permute", "reshape", "squeeze", "t", "transpose", "unsqueeze"}


@dataclass
class Chain:
    """A linear operation and the nodes that only turn, scale and shift its output, up to the last that does more."""

    nodes: list[Any]
    steps: list[tuple[bool, Callable[[Any], Any]]] = field(default_factory=list)
    """For each node after the first that has run: whether it scales or shifts, and what it does."""

    @property
    def end(self) -> Any:
        """The node whose value is that of the layer."""
        return self.nodes[-1]

    def note(self, node: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Remember a step that is being run."""
        place = next(index for index, part in enumerate(node.args) if part in self.nodes)

        def step(value: Any) -> Any:
            return node.target(*args[:place], value, *args[place + 1 :], **kwargs)

        self.steps.append((is_affine(node) or operator_name(node) == "getitem", step))

    def fold(self, value: Tensor, total: Tensor) -> tuple[Tensor | None, Tensor, bool]:
        """Scale and total in the order of axes of the first node's ``value``, given the ``total`` of the last.

        The third result tells whether anything was shifted.
        """
        if not self.steps:
            return None, total, False
        with torch.no_grad():
            shift = self._through(torch.zeros_like(value))
            scale = self._through(torch.ones_like(value)) - shift
        return self.turned_back(scale, value), self.turned_back(total, value), bool(shift.any())

    def turned_back(self, rows: Tensor, value: Tensor) -> Tensor:
        """From the order of axes of the last node to that of the first one's ``value``."""

        def turned(part: Tensor) -> Tensor:
            for affine, step in self.steps:
                part = part if affine else step(part)
            return part

        return transposed(turned, [value], rows)[0] if self.steps else rows

    def _through(self, rows: Any) -> Tensor:
        for _, step in self.steps:
            rows = step(rows)
        return rows


def chains_of(graph: Graph) -> dict[Any, Chain]:
    """The chain of each node that is part of one; a linear operation starts it."""
    found: dict[Any, Chain] = {}
    needed = set(graph.nodes)
    for node in graph.nodes:
        if live_arguments(node, graph) in _LAYERS.get(operator_name(node), ()):
            chain = Chain(_followers(node, graph, needed))
            found.update(dict.fromkeys(chain.nodes, chain))
    return found


def entrance_of(graph: Graph) -> set[Any]:
    """Nodes that hold the input itself, in other units: the leaf and what only turns, scales and shifts it."""
    entrance = {graph.leaf}
    for node in graph.nodes:
        if any(part in entrance for part in node.all_input_nodes) and _goes_on(node, graph):
            entrance.add(node)
    return entrance


def is_affine(node: Any) -> bool:
    """Whether a node scales or shifts each number by itself, if all but one of its arguments are constants."""
    return operator_name(node) in {"add", "div", "mul", "rsub", "sub", _NORM}


def live_arguments(node: Any, graph: Graph) -> list[int]:
    """Places of the arguments that depend on the input."""
    return [place for place, part in enumerate(node.args) if isinstance(part, torch.fx.Node) and part in graph.live]


def _followers(first: Any, graph: Graph, needed: set[Any]) -> list[Any]:
    nodes, last = [first], 1
    while True:
        users = [user for user in nodes[-1].users if user in needed]
        if len(users) != 1 or not _goes_on(users[0], graph):
            return nodes[:last]
        nodes.append(users[0])
        if (is_affine(nodes[-1]) and operator_name(nodes[-1]) != _NORM) or operator_name(nodes[-1]) == "getitem":
            last = len(nodes)


def _goes_on(node: Any, graph: Graph) -> bool:
    """Whether a node keeps each number apart, and as many as there were."""
    places = live_arguments(node, graph)
    if len(places) != 1 or not (is_affine(node) or operator_name(node) in _TURNS):
        return False
    if operator_name(node) == "div" and (places != [0] or "rounding_mode" in node.kwargs):
        return False
    return _count(node) == _count(node.args[places[0]])


def _count(node: Any) -> int:
    value = node.meta["val"]
    value = value[0] if isinstance(value, tuple | list) else value
    return int(value.numel())
