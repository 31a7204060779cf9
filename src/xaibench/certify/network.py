"""A network as bounds see it: a list of affine maps, sums and nonlinear operations, each on single samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from xaibench.certify.relaxations import Nonlinear

__all__ = ["Affine", "Input", "LinearMap", "Network", "Node", "Operation", "Sum"]

LinearMap = Callable[[Tensor], Tensor]
"""A linear map of each of m rows: (m, *input) to (m, *output), or back."""


@dataclass(frozen=True)
class Input:
    """Where inputs enter, in input units."""


@dataclass(frozen=True)
class Sum:
    """The sum of all parents."""


@dataclass(frozen=True, kw_only=True)
class Affine:
    """x -> map(x) + shift."""

    map: LinearMap
    magnitude: LinearMap
    """The map with its coefficients replaced by their absolute values."""
    adjoint: LinearMap
    """The transposed map."""
    shift: Tensor | None = None
    """Broadcastable against (m, *output), float64."""
    terms: int = 0
    """How many products and sums at most make one output; 0 where numbers are only moved."""


Operation = Input | Sum | Affine | Nonlinear


@dataclass(frozen=True, kw_only=True)
class Node:
    """An operation, the indices of what it acts on, and the shape of its output without the batch."""

    operation: Operation
    parents: tuple[int, ...] = ()
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """Nodes in order of computation: the input is the first, the logits are the last."""

    nodes: tuple[Node, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (n, classes) in float64 of inputs (n, ...)."""
        values: list[Tensor] = []
        for node in self.nodes:
            before = [values[parent] for parent in node.parents]
            if isinstance(node.operation, Input):
                values.append(x.double())
            elif isinstance(node.operation, Sum):
                values.append(torch.stack(before).sum(dim=0))
            elif isinstance(node.operation, Affine):
                image = node.operation.map(*before)
                values.append(image if node.operation.shift is None else image + node.operation.shift)
            else:
                values.append(node.operation(*before))
        return values[-1]

    def operation(self, index: int) -> Operation:
        """What a node does."""
        return self.nodes[index].operation

    def children(self, index: int) -> tuple[int, ...]:
        """The nodes that act on the output of this one."""
        return self._children[index]

    def is_affine(self, index: int) -> bool:
        """Whether a node is an affine function of the input."""
        return not any(isinstance(self.operation(node), Nonlinear) for node in self._ancestors[index])

    def widest(self, index: int) -> int:
        """Numbers per sample in the largest output of all nodes up to this one."""
        return max(math.prod(self.nodes[node].shape) for node in self._ancestors[index])

    @cached_property
    def _children(self) -> tuple[tuple[int, ...], ...]:
        children: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for parent in node.parents:
                children[parent].append(index)
        return tuple(map(tuple, children))

    @cached_property
    def _ancestors(self) -> tuple[frozenset[int], ...]:
        """Of each node, itself included."""
        ancestors: list[frozenset[int]] = []
        for index, node in enumerate(self.nodes):
            ancestors.append(frozenset({index}).union(*(ancestors[parent] for parent in node.parents)))
        return tuple(ancestors)

    @property
    def classes(self) -> int:
        """Number of logits."""
        return self.nodes[-1].shape[0]
