"""Which points are proved robust: lower bounds on the label's logit minus every other."""

from __future__ import annotations

from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from xaibench.attacks.base import check_labels
from xaibench.certify.bounds import NetworkBounds
from xaibench.certify.graph import network_of
from xaibench.certify.network import Network
from xaibench.certify.regions import Region
from xaibench.errors import InputError, UnsupportedError, first_line
from xaibench.losses import margin
from xaibench.rng import SampleRng
from xaibench.threats import Threat, check_threat
from xaibench.types import Capability, Classifier, require

__all__ = ["Method", "Prover", "margin_bounds", "network_margins", "prove"]

Method = Literal["interval", "crown-ibp", "crown"]

_HOPELESS = 7.5
_AGREEMENT = 1e-3
"""By how much, as a share of the largest logit, a network and the model that it was read from may differ."""


def margin_bounds(
    model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, method: Method = "crown", batch_size: int = 16
) -> Tensor:
    """Lower bounds (n, classes), float64, on logit y minus logit c, over all that ``threat`` allows; 0 at c = y.

    ``x`` (n, ...) are inputs in input units and ``y`` (n,) classes; ``threat`` is a linf, l2 or l1 ball, which is cut
    to the box of valid inputs. ``method`` is ``"interval"``, quick and loose, ``"crown"``, or between them
    ``"crown-ibp"``, linear bounds on the margins that rest on intervals within the network: see
    `xaibench.certify.bounds`. ``batch_size`` bounds the memory and nothing else. The bounds hold for the model as it
    runs in float32, rounding included, for inputs within the tolerance that attacks are granted (1e-6).

    Raises `InputError` for inputs, labels or threats that do not fit, and `UnsupportedError`, with the reason, for
    models that cannot be bounded.
    """
    if method not in get_args(Method):
        raise InputError(f"expected method as {', '.join(get_args(Method))}, got {method!r}")
    x, y = _checked(model, x, y, threat)
    network = _read(model, x)
    pieces = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return torch.cat(
        [network_margins(network, Region.of(some, threat, model.bounds), labels, method) for some, labels in pieces]
    )


def prove(model: Classifier, x: Tensor, y: Tensor, threat: Threat, *, batch_size: int = 16) -> Tensor:
    """Whether no input that ``threat`` allows makes the model answer otherwise than ``y``: bool (n,).

    True is a proof; False says nothing. The methods of `margin_bounds` are tried one after another on what those before
    them leave open. The last, which costs ten times as much, is spared where the one before misses a proof by more than
    7.5 times the margin of the clean input: half as much again as it was ever seen to make up for. Arguments and errors
    are those of `margin_bounds`.
    """
    x, y = _checked(model, x, y, threat)
    return Prover(model, x, y, batch_size=batch_size)(threat)


class Prover:
    """A model read once, to try proofs for the same samples within several threats: see `prove`.

    A call asks the network that was read, and not the model.
    """

    def __init__(self, model: Classifier, x: Tensor, y: Tensor, *, batch_size: int = 16) -> None:
        self._x, self._y, self._size, self._bounds = x.to(model.device), y.to(model.device), batch_size, model.bounds
        require(model, "a bound", Capability.LOGITS, Capability.DETERMINISTIC)
        self._network = _read(model, self._x)
        with torch.no_grad():
            self._logits = model.logits(self._x)

    def __call__(self, threat: Threat) -> Tensor:
        """Whether each answer is proved within ``threat``: bool (n,)."""
        x, y, network = self._x, self._y, self._network
        check_threat(threat, self._bounds, x.shape[1:])
        proved = torch.zeros_like(y, dtype=torch.bool)
        left = (self._logits.argmax(dim=1) == y).nonzero()[:, 0]
        clean = -margin(self._logits, y).double()
        hopeless = torch.zeros_like(proved)
        for method in get_args(Method):
            for rows in left.split(self._size):
                others = torch.arange(network.classes, device=y.device) != y[rows, None]
                margins = network_margins(network, Region.of(x[rows], threat, self._bounds), y[rows], method)
                proved[rows] = ((margins > 0) | ~others).all(dim=1)
                hopeless[rows] = margins.where(others, torch.inf).amin(dim=1) < -_HOPELESS * clean[rows]
            left = left[~proved[left] & ~(hopeless[left] if method == "crown-ibp" else proved[left])]
        return proved


@runtime_checkable
class _Traceable(Protocol):
    def export(self, x: Tensor) -> torch.export.ExportedProgram: ...


def network_margins(network: Network, region: Region, y: Tensor, method: Method) -> Tensor:
    """Lower bounds (n, classes) on logit y minus each, over the regions around n samples: see `margin_bounds`."""
    bounds = NetworkBounds(network, region, linear=method != "interval", tight=method == "crown")
    labels, which = y.unique(return_inverse=True)
    identity = torch.eye(network.classes, dtype=torch.float64, device=y.device)
    rows = (identity[labels, None] - identity).flatten(0, 1)
    classes = torch.arange(network.classes, device=y.device)
    row = (which[:, None] * network.classes + classes).flatten()
    owner = torch.arange(len(y), device=y.device).repeat_interleave(network.classes)
    return bounds.least(len(network.nodes) - 1, rows, row, owner).view(len(y), network.classes)


def _checked(model: Classifier, x: Tensor, y: Tensor, threat: Threat) -> tuple[Tensor, Tensor]:
    if model.task == "text":
        raise UnsupportedError("bounds need inputs that move continuously: got a model of text")
    if x.ndim < 2 or not x.is_floating_point() or not len(x):
        raise InputError(f"expected a batch of floating-point inputs (n, ...), got {x.dtype} {tuple(x.shape)}")
    check_labels(model, x, y)
    check_threat(threat, model.bounds, x.shape[1:])
    require(model, "a bound", Capability.LOGITS, Capability.DETERMINISTIC)
    return x.detach().to(model.device), y.to(model.device)


def _read(model: Classifier, x: Tensor) -> Network:
    """The network behind a model, which is seen to give the model's logits on these inputs and on noise."""
    if not isinstance(model, _Traceable):
        raise UnsupportedError(f"bounds need a graph of torch operators: the model runs in {model.framework}")
    program = model.export(x[:1].expand(2, *x.shape[1:]))
    try:
        network = network_of(program)
    except UnsupportedError:
        raise
    except Exception as error:  # graphs hold what nobody thought of
        raise UnsupportedError(f"the graph of the model cannot be read: {first_line(error)}") from error
    for points in (x, _noise(model, x)):
        with torch.no_grad():
            wanted, got = model.logits(points).double(), network(points)
        if got.shape != wanted.shape or not bool(
            ((got - wanted).abs() <= _AGREEMENT * (1 + wanted.abs().amax())).all()
        ):
            raise UnsupportedError(
                "the model does something that its traced graph does not show: expected equal logits"
            )
    return network


def _noise(model: Classifier, x: Tensor) -> Tensor:
    low, high = model.bounds.tensors(x)
    ids = torch.arange(min(len(x), 16), device=x.device)
    return low + (high - low) * SampleRng(ids, stream="certify").uniform(tuple(x.shape[1:])).to(x)
