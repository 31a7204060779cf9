"""Interval and CROWN bounds on every node of a network.

Intervals after Gowal et al., *Scalable verified training for provably robust image classification* (ICCV 2019) and
Mirman et al., *Differentiable abstract interpretation for provably robust neural networks* (ICML 2018); linear bounds
after Zhang et al., *Efficient neural network robustness certification with general activation functions* (NeurIPS
2018), carried back through graphs as by Xu et al., *Automatic perturbation analysis for scalable certified robustness
and beyond* (NeurIPS 2020).

The bounds hold for the network as it runs, not only for the function that it approximates. Each output of an affine
map may be off by as much as recursive summation in float32 can be (Higham, *Accuracy and stability of numerical
algorithms*, 2002, section 3.1), on CUDA devices also by the rounding of factors to TF32; the bounds treat that error as
one more thing that the attacker chooses. They are themselves computed in float64, whose own errors are smaller by a
factor of 10**8 and drown in that allowance.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.certify.network import Input, Network, Sum
from xaibench.certify.regions import Region
from xaibench.certify.relaxations import Interval, MaxPool, Nonlinear, Owner, Relaxation, of_owner

__all__ = ["NetworkBounds"]

_ROUNDOFF = 2.0**-24
_SHORTENED = 2.0**-10
"""By how much CUDA devices round each factor of a product to TF32, where they may."""
_CHUNK = 2**22
"""Numbers in the largest array of coefficients that is worked on at once: 32 MiB, a few of which are alive."""
_MANY = 32
"""From so many rows a sample on, its values are broadcast over them, which is quicker than to gather them."""
_LARGEST = 2**25
"""Above so many coefficients for one sample a node keeps its interval: CROWN-IBP in place of full CROWN."""


class NetworkBounds:
    """Bounds on all nodes of a network over the regions around n samples.

    With ``linear`` bounds are carried back to the input; with ``tight`` those on the inputs of nonlinear operations
    too, where their intervals leave anything open. Without it these keep their intervals, but for those that no
    nonlinear operation comes before.
    """

    def __init__(self, network: Network, region: Region, *, linear: bool, tight: bool) -> None:
        self._network = network
        self._region = region
        self._linear = linear
        self._tight = tight
        self._intervals: list[Interval] = []
        self._errors: dict[int, Tensor] = {}
        self._relaxations: dict[int, Relaxation] = {}
        for index, node in enumerate(network.nodes):
            self._intervals.append(self._interval(index))
            if isinstance(node.operation, Nonlinear):
                self._relaxations[index] = node.operation.relax(self._intervals[node.parents[0]])
            else:
                self._tighten(index)

    def interval(self, index: int) -> Interval:
        """Elementwise bounds on the output of a node, (n, *shape)."""
        return self._intervals[index]

    def least(self, index: int, rows: Tensor, row: Tensor, owner: Tensor) -> Tensor:
        """Lower bounds (m,) on ``rows[row]`` times the output of a node for the samples ``owner`` (m,), sorted.

        ``rows`` (k, *shape) hold coefficients. Down to the first nonlinear operation they are carried back once for
        all samples, from there on for each pair of row and sample. Linear bounds on a sum are not always better than
        the intervals of its terms: the better of both counts.
        """
        pending = {index: rows}
        constant = rows.new_zeros(len(rows), len(self._region.clean))
        while not isinstance(self._network.operation(max(pending)), Nonlinear | Input):
            top = max(pending)
            constant += self._carry(top, pending, None)
        result = rows.new_empty(len(row))
        size = max(1, _CHUNK // self._network.widest(index))
        for pairs, sample in _by_owner(owner, size):
            own = {node: coefficients[row[pairs]] for node, coefficients in pending.items()}
            start = constant[row[pairs], owner[pairs]]
            result[pairs] = start + sum(self._boxed(node, own[node], sample) for node in own)
            if self._linear and max(own) > 0:
                total = start
                while own:
                    total = total + self._carry(max(own), own, sample)
                result[pairs] = torch.maximum(result[pairs], total)
        return result

    def _boxed(self, index: int, rows: Tensor, owner: Owner) -> Tensor:
        """The least (m,) that the interval of a node lets rows times its output be."""
        if index == 0:
            return self._region.least(rows, owner)
        low, high = (of_owner(limit, owner) for limit in self._intervals[index])
        return (rows.clamp_min(0) * low + rows.clamp_max(0) * high).flatten(1).sum(dim=1)

    def _carry(self, index: int, pending: dict[int, Tensor], owner: Owner | None) -> Tensor:
        """Replace the pending rows of a node by rows of its parents; the constants (m,) that this leaves.

        With no owner the rows are those of all n samples, and the constants (m, n).
        """
        rows, node = pending.pop(index), self._network.nodes[index]
        if isinstance(node.operation, Input):
            assert owner is not None
            return self._region.least(rows, owner)
        if isinstance(node.operation, Nonlinear):
            assert owner is not None
            before, constant = self._relaxations[index].back(rows, owner)
            _pend(pending, node.parents[0], before)
            return constant
        constant = -_dot(rows.abs(), self._errors[index], owner) if index in self._errors else rows.new_zeros(())
        if isinstance(node.operation, Sum):
            for parent in node.parents:
                _pend(pending, parent, rows)
            return constant
        _pend(pending, node.parents[0], node.operation.adjoint(rows))
        if node.operation.shift is None:
            return constant
        shift = (rows * node.operation.shift).flatten(1).sum(dim=1)
        return constant + (shift[:, None] if owner is None else shift)

    def _interval(self, index: int) -> Interval:
        """Bounds on a node from those on its parents; notes by how much its output may be rounded."""
        node = self._network.nodes[index]
        before = [self._intervals[parent] for parent in node.parents]
        if isinstance(node.operation, Input):
            return self._region.reach
        if isinstance(node.operation, Nonlinear):
            return Interval(*map(node.operation, before[0]))
        if isinstance(node.operation, Sum):
            low, high = (torch.stack(limits).sum(dim=0) for limits in zip(*before, strict=True))
            size = torch.stack([torch.maximum(low.abs(), high.abs()) for low, high in before]).sum(dim=0)
            error = self._errors[index] = _gamma(len(before), size.device) * size
            return Interval(low - error, high + error)
        low, high = before[0]
        shift = low.new_zeros(()) if node.operation.shift is None else node.operation.shift
        centre = node.operation.map((low + high) / 2) + shift
        radius = node.operation.magnitude((high - low) / 2)
        if node.operation.terms:
            size = node.operation.magnitude(torch.maximum(low.abs(), high.abs())) + shift.abs()
            radius += self._errors.setdefault(index, _gamma(node.operation.terms, size.device) * size)
        return Interval(centre - radius, centre + radius)

    def _tighten(self, index: int) -> None:
        """Better bounds on a node where the nonlinear operations after it can use them."""
        undecided = self._undecided(index)
        if undecided is None:
            return
        shape, widest = self._network.nodes[index].shape, self._network.widest(index)
        low, high = (limit.flatten(1).clone() for limit in self._intervals[index])
        size = low.shape[1]
        if size * widest > _LARGEST:
            return
        for some in torch.arange(size, device=undecided.device).split(max(1, _CHUNK // widest)):
            neurons = some[undecided[:, some].any(dim=0)]
            owner, row = undecided[:, neurons].nonzero(as_tuple=True)
            if not len(owner):
                continue
            rows = F.one_hot(neurons, size).to(low).view(-1, *shape)
            place = owner, neurons[row]
            low[place] = torch.maximum(low[place], self.least(index, rows, row, owner))
            high[place] = torch.minimum(high[place], -self.least(index, -rows, row, owner))
        # Where both bounds meet, rounding may have let them pass each other.
        self._intervals[index] = Interval(low.view(-1, *shape), torch.maximum(low, high).view(-1, *shape))

    def _undecided(self, index: int) -> Tensor | None:
        """Entries (n, features) of a node whose bounds matter to the nonlinear operations that follow it."""
        after = self._network.children(index)
        users = [(child, op) for child in after if isinstance(op := self._network.operation(child), Nonlinear)]
        if not users or not (self._tight or self._network.is_affine(index)):
            return None
        low, high = self._intervals[index]
        mask = torch.zeros_like(low, dtype=torch.bool)
        for child, operation in users:
            mask |= operation.undecided(self._intervals[index])
            # A maximum compares values, so that it gains from bounds on units that are surely active, too.
            if any(isinstance(self._network.operation(user), MaxPool) for user in self._network.children(child)):
                mask |= (low < high) & (high > 0)
        return mask.flatten(1)


def _pend(pending: dict[int, Tensor], index: int, rows: Tensor) -> None:
    pending[index] = pending[index] + rows if index in pending else rows


def _dot(rows: Tensor, values: Tensor, owner: Owner | None) -> Tensor:
    """Rows times the values of the samples that they belong to, (m,), or times those of all samples, (m, n)."""
    if owner is None:
        return rows.flatten(1) @ values.flatten(1).T
    return (rows * of_owner(values, owner)).flatten(1).sum(dim=1)


def _by_owner(owner: Tensor, size: int) -> Iterator[tuple[Tensor, Owner]]:
    """Pieces of at most ``size`` of the sorted owners, as indices; where they are many, each of one sample alone."""
    pairs = torch.arange(len(owner), device=owner.device)
    samples, counts = owner.unique_consecutive(return_counts=True)
    if len(owner) < _MANY * len(samples):
        yield from ((piece, owner[piece]) for piece in pairs.split(size))
        return
    for sample, own in zip(samples.tolist(), pairs.split(counts.tolist()), strict=True):
        yield from ((piece, sample) for piece in own.split(size))


def _gamma(terms: int, device: torch.device) -> float:
    """The largest relative error of a sum of that many products on a device, as it computes in float32."""
    error = terms * _ROUNDOFF / (1 - terms * _ROUNDOFF)
    shortens = torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32
    return error + 2 * _SHORTENED if device.type == "cuda" and shortens else error
