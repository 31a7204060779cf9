"""What explainers that run a model's graph by rules share: batches, and the proof that the graph is the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from xaibench.errors import UnsupportedError
from xaibench.explainers.relevance.graph import Graph, graph_of
from xaibench.explainers.target import TargetLogit
from xaibench.types import Capability, require

__all__ = ["Run", "chosen", "propagated"]

Run = Callable[[Graph, Tensor], tuple[Tensor, ...]]
"""Values (m, ...) of samples ``rows`` (m,), then the target logits (m,) that the graph gave on the way."""

_TOLERANCE = 1e-3


def propagated(logit: TargetLogit, name: str, run: Run, expected: tuple[Tensor, ...]) -> Tensor:
    """Values (n, ...) of all samples, from a graph whose logits are the ``expected`` ones (n,) of the model.

    A graph that does not give them is traced again, for the model may have changed; then for this size of the batch
    alone. Raises `UnsupportedError` where none does, as for models that act otherwise than they were traced.
    """
    require(logit.model, name, Capability.LOGITS)
    for options in ({}, {"fresh": True}, {"any_size": False, "fresh": True}):
        try:
            graph = graph_of(logit.model, logit.x, **options)
            values, *found = _in_batches(logit, graph, run)
        except UnsupportedError as error:
            raise UnsupportedError(f"{name}: {error}") from None
        except RuntimeError as error:  # shapes of a graph that holds for another size of the batch
            failure: Any = error
            continue
        failure = None
        if all(map(_agrees, found, expected)):
            return values
    reason = "its traced graph gives other logits than the model" if failure is None else str(failure).splitlines()[0]
    raise UnsupportedError(f"{name} cannot follow the model: {reason}")


def chosen(logit: TargetLogit, logits: Tensor, rows: Tensor) -> Tensor:
    """The target logits (m,) of samples ``rows`` among their logits (m, classes)."""
    return logits.gather(1, logit.target[rows, None]).squeeze(1)


def _in_batches(logit: TargetLogit, graph: Graph, run: Run) -> tuple[Tensor, ...]:
    parts: list[tuple[Tensor, ...]] = []
    for rows, count in _batches(logit, graph):
        found = run(graph, rows)
        parts.append(tuple(part.detach()[:count] for part in found))
    return tuple(map(torch.cat, zip(*parts, strict=True)))


def _batches(logit: TargetLogit, graph: Graph) -> Iterator[tuple[Tensor, int]]:
    """Rows of each batch, filled up with its first to the size that the graph takes, and how many of them count."""
    for part in logit.split(len(logit.x)):
        # Both what rules keep and what autograd keeps is held at once.
        for rows in part.split(graph.batch or -(-len(part) // 2)):
            short = 0 if graph.batch is None else graph.batch - len(rows)
            yield torch.cat([rows, rows[:1].expand(short)]), len(rows)


def _agrees(found: Tensor, expected: Tensor) -> bool:
    return bool(((found - expected).abs() <= _TOLERANCE * expected.abs().clamp_min(1.0)).all())
