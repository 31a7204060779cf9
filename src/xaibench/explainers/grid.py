"""The layer of a network of images that class activation maps look at: a grid of places, of channels or of tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError
from xaibench.explainers.reading import check_pictures
from xaibench.explainers.target import TargetLogit
from xaibench.rng import SampleRng
from xaibench.types import Capability, Classifier, require

__all__ = ["GridLayer"]

_PROBES = 4
_CANCELLED = 1e-4
"""Channels whose gradients times activations leave less than this share in the sum cancel but for rounding."""
_MOST_STRETCH = 2.0
"""A grid may be this much wider or narrower, for its height, than the image: convolutions cut the edges."""

_chosen: WeakKeyDictionary[Classifier, dict[tuple[int, ...], tuple[str, bool]]] = WeakKeyDictionary()
"""By the shape of inputs: the layer, and whether it is rectified."""


class GridLayer:
    """Activations and gradients of one layer as (m, channels, h, w).

    ``layer`` is its name, or ``auto``: the last whose output is a grid of more than one place that matters, of layers
    within each other the outer one. Channels must have everything going through them, so that no branch of a residual
    block is taken, unless there are none such. Tokens (m, length, dimension) are a grid if all of them, or all but the
    first, which then is a class token, fill one in the image's proportions. A grid matters if, where there are
    gradients, gradient times activation is not nothing: it is where the class token alone is read off, and before a
    layer norm, which does not care for the length of a token. So in a transformer it is a norm that is taken.

    Where a ReLU that is no layer follows a layer that was looked for, ``rectified`` is true: what the ReLU lets through
    is the activations, as it would be with a ReLU in the layer, and gradients are those after it. This is so if nothing
    changes when negative activations become zero.

    Raises `UnsupportedError` for models without layers or without such a layer, and for other tasks than images;
    `InputError` for a named layer that does not exist or is no grid.
    """

    def __init__(self, logit: TargetLogit, method: str, layer: str) -> None:
        self._logit, self._model = logit, logit.model
        if self._model.task != "image":
            raise UnsupportedError(f"{method} needs images, got a model of task {self._model.task!r}")
        check_pictures(method, logit.x)
        require(self._model, method, Capability.ACTIVATIONS)
        self._size = (logit.x.shape[2], logit.x.shape[3])
        self.rectified = False
        if layer == "auto":
            self.layer, self.rectified = self._last(method)
        else:
            self.layer = layer
            with torch.no_grad():
                found = self._model.activations(logit.x[:1], layer)
            if self._grid(found) is None:
                shape = ", ".join(map(str, found.shape[1:]))
                raise InputError(f"expected a layer whose output is a grid of places, got {layer!r} with (n, {shape})")

    def activations(self, rows: Tensor) -> Tensor:
        """Output of the layer for samples ``rows`` (m,)."""
        self._logit.count(forward=len(rows))
        with torch.no_grad():
            found = self._read(self._model.activations(self._logit.x[rows], self.layer))
        return found.relu() if self.rectified else found

    def gradient(self, rows: Tensor) -> Tensor:
        """Gradient of the target logits of samples ``rows`` (m,) at the layer's output."""
        self._logit.count(forward=len(rows), backward=len(rows))
        target = self._logit.target[rows]
        if self.rectified:
            return self._read(self._after_relu(rows, target))
        return self._read(self._model.activation_gradient(self._logit.x[rows], self.layer, target).gradient)

    def _after_relu(self, rows: Tensor, target: Tensor) -> Tensor:
        """Gradients at the output of the ReLU that follows the layer: it lets all through where all is positive."""
        x = self._logit.x[rows]
        self._logit.count(forward=len(rows))
        with torch.no_grad():
            output = self._model.activations(x, self.layer)
        point = output.clamp_min(torch.finfo(output.dtype).tiny).requires_grad_()
        with torch.enable_grad():
            logits = self._model.logits_from(x, self.layer, point)
            (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), point)
        return gradient

    def enlarge(self, maps: Tensor) -> Tensor:
        """Maps (m, h, w) at the height and width of the images."""
        return F.interpolate(maps[:, None], self._size, mode="bilinear", align_corners=False).squeeze(1)

    def _read(self, output: Tensor) -> Tensor:
        grid = self._grid(output)
        if grid is None:
            raise InputError(f"expected the same kind of output from layer {self.layer!r} for every batch")
        return grid

    def _grid(self, output: Tensor) -> Tensor | None:
        """(m, channels, h, w) of what a layer gives, if it is a grid."""
        height, width = self._size
        if output.ndim == 4:
            h, w = output.shape[2:]
            stretch = (h * width) / (w * height)
            fits = h * w > 1 and h <= height and w <= width and 1 / _MOST_STRETCH <= stretch <= _MOST_STRETCH
            return output if fits else None
        if output.ndim != 3:
            return None
        for extra in (0, 1):
            places = output.shape[1] - extra
            h = round((places * height / width) ** 0.5)
            if h > 0 and places > 1 and places % h == 0 and h * width == (places // h) * height:
                return output[:, extra:].transpose(1, 2).unflatten(2, (h, places // h))
        return None

    def _last(self, method: str) -> tuple[str, bool]:
        shape = tuple(self._logit.x.shape[1:])
        known = _chosen.setdefault(self._model, {})
        if shape not in known:
            known[shape] = self._search(method)
        return known[shape]

    def _search(self, method: str) -> tuple[str, bool]:
        x = self._logit.x
        low, high = self._model.bounds.tensors(x)
        unit = SampleRng(torch.arange(_PROBES, device=x.device), 0, "places").uniform(tuple(x.shape[1:])).to(x.dtype)
        probes = torch.where((high - low).isfinite(), low + unit * (high - low), self._model.bounds.clip(2 * unit - 1))
        targets = torch.arange(_PROBES, device=x.device) % self._model.num_classes
        beside = None
        for layer in _outer_first(self._model.layers):
            try:
                with torch.no_grad():
                    output = self._model.activations(probes, layer)
                if not self._matters(probes, layer, output, targets):
                    continue
                found = layer, self._is_rectified(probes, layer, output)
                if output.ndim == 3 or self._cuts(probes, layer, output):
                    return found
                beside = beside or found
            except UnsupportedError:  # it does not run, runs twice, or leads nowhere
                continue
        if beside is None:
            raise UnsupportedError(f"{method} needs a layer whose output is a grid of places: the model has none")
        return beside

    def _matters(self, probes: Tensor, layer: str, output: Tensor, targets: Tensor) -> bool:
        grid = self._grid(output)
        if grid is None or Capability.GRADIENTS not in self._model.capabilities:
            return grid is not None
        gradient = self._grid(self._model.activation_gradient(probes, layer, targets).gradient)
        if gradient is None:
            return False
        flow = grid * gradient
        return bool(flow.sum(dim=1).abs().sum() > _CANCELLED * flow.abs().sum())

    def _is_rectified(self, probes: Tensor, layer: str, output: Tensor) -> bool:
        """Whether there are negative activations and none matters."""
        if not bool((output < 0).any()):
            return False
        try:
            with torch.no_grad():
                as_is, rectified = (self._model.logits_from(probes, layer, y) for y in (output, output.relu()))
        except UnsupportedError:
            return False
        return torch.equal(as_is, rectified)

    def _cuts(self, probes: Tensor, layer: str, output: Tensor) -> bool:
        """Whether everything goes through the layer: with its output given, another input changes nothing."""
        with torch.no_grad():
            expected = self._model.logits(probes)
            return torch.allclose(self._model.logits_from(probes.flip(0), layer, output), expected, 1e-4, 1e-4)


def _outer_first(layers: tuple[str, ...]) -> Iterator[str]:
    """From the last to the first, each before those within it."""
    place = {name: -index for index, name in enumerate(layers)}

    def key(name: str) -> tuple[int, ...]:
        within = [name[: mark.start()] for mark in re.finditer(r"[./]", name)]
        return tuple(place[part] for part in (*within, name) if part in place)

    yield from sorted(layers, key=key)
