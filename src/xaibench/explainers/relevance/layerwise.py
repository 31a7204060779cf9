"""How relevance passes through each operation, for LRP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from xaibench.classifiers.tracing import operator_name
from xaibench.errors import UnsupportedError
from xaibench.explainers.relevance import operators
from xaibench.explainers.relevance.chains import Chain, chains_of, entrance_of, is_affine, live_arguments
from xaibench.explainers.relevance.graph import Graph, where
from xaibench.explainers.relevance.linear import Epsilon, LinearLayer, LinearRule, proportional
from xaibench.explainers.relevance.ruled import ruled

__all__ = ["Box", "ChooseRule", "Layerwise"]

Box = tuple[Tensor, Tensor]
"""The least and the largest values that an input can take."""

ChooseRule = Callable[[str, bool, Box | None], LinearRule]
"""The rule of a linear layer, by its operator, whether it takes the input, and the box of that where it has one."""

_BESIDE = {"cat", "constant_pad_nd", "masked_fill", "maximum", "minimum", "select_scatter", "slice_scatter", "stack"}
_BESIDE |= {"where"}
"""Moves that set numbers beside constants, or constants in the place of numbers."""
_GATES = {"hardsigmoid", "reciprocal", "rsqrt", "sigmoid"}
_LOST = 1e-3
"""A sum of relevance that changes by more than this share of all that is moved was not only rounded."""
_TURNS = {"clone", "expand", "permute", "reshape", "rsub", "squeeze", "sub", "transpose", "unsqueeze"}


class Layerwise:
    """Runs each node so that what autograd hands back is relevance; ``takers`` gathers what may keep some of it.

    Constants that are put beside values count among biases, softmax is attention, and epsilon takes what reaches
    units whose value no product speaks for; it is only looked for where nothing else takes any. Live values are
    those that require gradients; between the start and the end of a chain there are none.
    """

    def __init__(self, graph: Graph, choose: ChooseRule, epsilon: Epsilon, box: Box | None) -> None:
        self._graph, self._choose, self.epsilon = graph, choose, epsilon
        self._chains = chains_of(graph)
        # What is added to embeddings is a part of its own; in other inputs it is a change of units.
        self._entrance = {graph.leaf} if box is None else entrance_of(graph)
        self._corners: dict[Any, Any] = {} if box is None else {graph.leaf: box}
        self._started: dict[Any, tuple[Any, Any, Any]] = {}
        self.takers: dict[str, None] = {}

    def __call__(self, node: Any, args: Any, kwargs: Any) -> Any:
        """See `Apply`; raises `UnsupportedError` for an operation that no rule is known for."""
        if node in self._entrance and self._corners:
            self._corners[node] = self._corner(node, args, kwargs)
        if node in self._chains:
            return self._linear(self._chains[node], node, args, kwargs)
        rule = _RULES.get(operator_name(node))
        if rule is None:
            raise UnsupportedError(f"no rule is known for {where(node)}")
        if operator_name(node) in _BESIDE and any(map(_nonzero, _constants(args))):
            self.takers["biases"] = None
        return rule(self, node, args, kwargs)

    def _checked(self, relevance: Tensor, shares: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """``shares`` (n, ...) of relevance (n, ...), as they are; notes epsilon if they fall short of it."""
        if not self.takers:
            parts = [part.flatten(1).double() for part in shares]
            before, after = relevance.flatten(1).double().sum(1), sum(part.sum(1) for part in parts)
            moved = relevance.flatten(1).double().abs().sum(1) + sum(part.abs().sum(1) for part in parts)
            if bool(((after - before).abs() > _LOST * moved).any()):
                self.takers["epsilon"] = None
        return shares

    def _corner(self, node: Any, args: Any, kwargs: Any) -> Any:
        (place,) = live_arguments(node, self._graph)
        found = []
        with torch.no_grad():
            for side in self._corners[node.args[place]]:
                found.append(node.target(*args[:place], side, *args[place + 1 :], **kwargs))
        return found

    def _linear(self, chain: Chain, node: Any, args: Any, kwargs: Any) -> Any:
        """A linear operation with what belongs to it: one layer, whose rule is applied at the end of it."""
        first = chain.nodes[0]
        with torch.no_grad():
            value = node.target(*args, **kwargs)
        if node is first:
            self._started[first] = (args, kwargs, value)
            chain.steps.clear()
        else:
            chain.note(node, args, kwargs)
        if node is not chain.end:
            return value
        args, kwargs, start = self._started.pop(first)
        (place,) = live_arguments(first, self._graph)
        layer = _layer(operator_name(first), place, args, kwargs)
        scale, total, shifted = chain.fold(start, value)
        if shifted or _has_bias(operator_name(first), args):
            self.takers["biases"] = None
        entered = first.args[place]
        box = self._corners.get(entered)
        rule = self._choose(operator_name(first), entered in self._entrance, box and _ordered(*box))

        def backward(relevance: Tensor) -> tuple[Tensor, ...]:
            arrived = chain.turned_back(relevance, start)
            return self._checked(arrived, (rule(LinearLayer(**layer, scale=scale, total=total), arrived),))

        return ruled(value, backward, args[place])

    def _shared(self, node: Any, args: Any, kwargs: Any) -> Tensor:
        """To all terms of a sum in proportion; half of it to each factor of a product (AttnLRP, equation 14)."""
        places, live = _live(args)
        name = operator_name(node)
        if is_affine(node) and any(_nonzero(part) for part in args if part is not None and not _is_live(part)):
            self.takers["biases"] = None
        if is_affine(node) and node in self._entrance:
            return _passed(self, node, args, kwargs)
        with torch.no_grad():
            total = node.target(*args, **kwargs)

        def run(*parts: Tensor) -> Tensor:
            found = list(args)
            for place, part in zip(places, parts, strict=True):
                found[place] = part
            return node.target(*found, **kwargs)

        def backward(relevance: Tensor) -> tuple[Tensor, ...]:
            each = relevance / (len(live) if name in operators.PRODUCTS else 1)
            return self._checked(relevance, proportional(run, live, total, each, self.epsilon))

        return ruled(total, backward, *live)

    def _multiplied(self, node: Any, args: Any, kwargs: Any) -> Tensor:
        """All to the signal where the other factor is a gate or a norm (Arras et al., 2017), else half to each."""
        _, live = _live(args)
        gates = [_is_gate(part) for part in node.args]
        if len(live) == 2 and sum(gates) == 1:
            return _handed_on(node, args, kwargs, args[gates.index(False)])
        if len(live) == 1:
            return _passed(self, node, args, kwargs)
        with torch.no_grad():
            value = node.target(*args, **kwargs)
        return ruled(value, lambda relevance: tuple((relevance / 2).sum_to_size(x.shape) for x in live), *live)


def _passed(run: Layerwise, node: Any, args: Any, kwargs: Any) -> Any:
    """As it comes to the only number that it can go to; of a quotient, to what is divided."""
    _, live = _live(args)
    if len(live) > 1 and operator_name(node) != "div":
        raise UnsupportedError(f"no rule is known for {where(node)} of several values")
    return _handed_on(node, args, kwargs, live[0])


def _handed_on(node: Any, args: Any, kwargs: Any, x: Tensor) -> Any:
    with torch.no_grad():
        found = node.target(*args, **kwargs)
    value = found[0] if isinstance(found, tuple) else found
    value = ruled(value, lambda relevance: (relevance.sum_to_size(x.shape),), x)
    return (value, *found[1:]) if isinstance(found, tuple) else value


def _moved(run: Layerwise, node: Any, args: Any, kwargs: Any) -> Any:
    """With the number that it belongs to: autograd moves it back as it would a gradient."""
    return node.target(*args, **kwargs)


def _decided(run: Layerwise, node: Any, args: Any, kwargs: Any) -> Any:
    with torch.no_grad():
        return node.target(*args, **kwargs)


def _softmax(run: Layerwise, node: Any, args: Any, kwargs: Any) -> Tensor:
    """x (R - p sum R), the first terms of the Taylor series (AttnLRP, proposition 3.1)."""
    x, axis = args[0], args[1]
    run.takers["attention"] = None
    with torch.no_grad():
        p = node.target(*args, **kwargs)
        known = x.detach().nan_to_num(0.0, posinf=0.0, neginf=0.0)  # positions that are masked have no relevance

    def backward(relevance: Tensor) -> tuple[Tensor]:
        return (known * (relevance - p * relevance.sum(axis, keepdim=True)),)

    return ruled(p, backward, x)


def _vector_norm(run: Layerwise, node: Any, args: Any, kwargs: Any) -> Tensor:
    """In proportion to what each number adds to the sum that the norm is a root of."""
    x, order, *axes = args
    if order not in (1, 2) or kwargs:
        raise UnsupportedError(f"no rule is known for {where(node)}")
    with torch.no_grad():
        value, parts = node.target(*args), x.detach().abs() ** order

    def backward(relevance: Tensor) -> tuple[Tensor]:
        return proportional(lambda part: part.sum(*axes), [parts], value**order, relevance, run.epsilon)  # type: ignore[return-value]

    return ruled(value, backward, x)


def _is_live(part: Any) -> bool:
    return isinstance(part, Tensor) and part.requires_grad


def _live(args: Any) -> tuple[list[int], list[Tensor]]:
    places = [place for place, part in enumerate(args) if _is_live(part)]
    return places, [args[place] for place in places]


def _constants(args: Any) -> Iterator[Any]:
    """Numbers among the arguments of a move that do not depend on the input."""
    for part in args:
        if isinstance(part, list | tuple):
            yield from (one for one in part if isinstance(one, Tensor) and not one.requires_grad)
        elif isinstance(part, float) or (isinstance(part, Tensor) and part.is_floating_point() and not _is_live(part)):
            yield part


def _nonzero(part: Any) -> bool:
    return bool(part.any()) if isinstance(part, Tensor) else part != 0


def _is_gate(node: Any) -> bool:
    """Whether a value is a gate, the rest that it leaves, or the reciprocal of a norm."""
    while isinstance(node, torch.fx.Node) and operator_name(node) in _TURNS and len(node.all_input_nodes) == 1:
        (node,) = node.all_input_nodes
    return isinstance(node, torch.fx.Node) and operator_name(node) in _GATES


def _layer(name: str, place: int, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a linear layer that its operation tells."""
    if name == "convolution":
        settings = args[3:]
        return {
            "x": args[0].detach(),
            "weight": args[1],
            "map": lambda x, weight: torch.ops.aten.convolution(x, weight, None, *settings),
        }
    first = 1 if name == "addmm" else 0
    alpha = kwargs.get("alpha", 1)
    x, weight = args[place].detach(), args[2 * first + 1 - place]
    before = place == first
    return {
        "x": x,
        "weight": weight,
        "map": lambda x, weight: alpha * (x @ weight if before else weight @ x),
    }


def _has_bias(name: str, args: Any) -> bool:
    bias = {"addmm": args[0], "convolution": args[2] if name == "convolution" else None}.get(name)
    return bias is not None and _nonzero(bias)


def _ordered(low: Tensor, high: Tensor) -> Box:
    return torch.minimum(low, high), torch.maximum(low, high)


_Rule = Callable[[Layerwise, Any, Any, Any], Any]
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(operators.MOVES, _moved),
    **dict.fromkeys(operators.DISCRETE, _decided),
    **dict.fromkeys(operators.ELEMENTWISE, _passed),
    **dict.fromkeys(operators.SUMS | operators.PRODUCTS, Layerwise._shared),
    "_native_batch_norm_legit_no_training": _passed,
    "_native_batch_norm_legit": _passed,
    "_softmax": _softmax,
    "amax": _moved,
    "detach": lambda run, node, args, kwargs: args[0],
    "div": _passed,
    "getitem": lambda run, node, args, kwargs: args[0][args[1]],
    "linalg_vector_norm": _vector_norm,
    "max": _moved,
    "max_pool2d_with_indices": _moved,
    "max_pool3d_with_indices": _moved,
    "maximum": _moved,
    "minimum": _moved,
    "mul": Layerwise._multiplied,
    "native_group_norm": _passed,
    "native_layer_norm": _passed,
}
