"""Explanations as differentiable functions of the input: what a search may climb, never what it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from xaibench.classifiers import ExportedClassifier
from xaibench.errors import UnsupportedError
from xaibench.losses import margin
from xaibench.types import Capability, Classifier

__all__ = ["SmoothMap", "smooth_map", "softened"]

_NODES = 8
"""Points on the path of integrated gradients: few are enough to find a direction."""

_RECTIFIERS = frozenset(
    {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, torch.ops.aten.relu.default}
)


class _Softened(TorchFunctionMode):
    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _RECTIFIERS:
            return F.softplus(args[0] if args else (kwargs or {})["input"], beta=self.beta)
        return func(*args, **(kwargs or {}))


@contextmanager
def softened(beta: float) -> Iterator[None]:
    """Within this context, in this thread, ReLU is softplus, log(1 + exp(beta x)) / beta: it has a second derivative.

    Dombrowski et al., *Explanations can be manipulated and geometry is to blame* (NeurIPS 2019). No model is changed:
    the function is replaced while it is called. Attention takes its plain form, which can be differentiated twice.
    """
    with _Softened(beta), sdpa_kernel(SDPBackend.MATH):
        yield


@dataclass(frozen=True)
class SmoothMap:
    """An attribution (m, ...) of points (m, ...) with a graph, and the margin (m,) by which the class is predicted."""

    model: Classifier
    follow: Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
    passes: int
    """Gradients that one map takes."""
    beta: float

    def __call__(self, point: Tensor, baseline: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The map, the margin, and all logits (m, classes), of points that take gradients."""

        def slope(points: Tensor) -> Tensor:
            repeats = len(points) // len(target)
            logits = self.model.logits(points)
            chosen = logits.gather(1, target.repeat(repeats)[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, points, create_graph=True)
            return gradient

        with softened(self.beta):
            logits = self.model.logits(point)
            return self.follow(slope, point, baseline), -margin(logits, target), logits


def smooth_map(method: str, model: Classifier, x: Tensor, beta: float) -> SmoothMap | None:
    """What leads a search for ``method``: its own map, or the gradient map nearest to it; None where there is none.

    Keras models are computed by torch meanwhile, as far as their layers are known.
    """
    if method not in _LEADS or model.task == "text" or Capability.GRADIENTS not in model.capabilities:
        return None
    follow, passes = _LEADS[method]
    try:
        twin = _torch_form(model, x)
        found = SmoothMap(twin, follow, passes, beta)
        _try(found, x[:1])
    except (UnsupportedError, RuntimeError, NotImplementedError):  # whatever a graph cannot do twice
        return None
    return found


def _torch_form(model: Classifier, x: Tensor) -> Classifier:
    if model.framework in ("torch", "exported"):
        return model
    if not hasattr(model, "export"):
        raise UnsupportedError(f"a {model.framework} model has no form in torch")
    shape = None if model.input_shape is None else list(model.input_shape)
    return ExportedClassifier(
        model.export(x), task=model.task, bounds=model.bounds, class_names=model.class_names, input_shape=shape
    )


def _try(found: SmoothMap, x: Tensor) -> None:
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        values, _, _ = found(point, torch.zeros_like(x), torch.zeros(len(x), dtype=torch.int64, device=x.device))
        if values.requires_grad:
            torch.autograd.grad(values.sum(), point, allow_unused=True)


def _gradient(slope: Callable[[Tensor], Tensor], point: Tensor, baseline: Tensor) -> Tensor:
    return slope(point)


def _input_x_gradient(slope: Callable[[Tensor], Tensor], point: Tensor, baseline: Tensor) -> Tensor:
    return point * slope(point)


def _integrated(slope: Callable[[Tensor], Tensor], point: Tensor, baseline: Tensor) -> Tensor:
    shares = (torch.arange(_NODES, device=point.device, dtype=point.dtype) + 0.5) / _NODES
    away = point - baseline
    points = baseline + shares.view(-1, *[1] * point.ndim) * away
    return away * slope(points.flatten(0, 1)).view(points.shape).mean(dim=0)


_LEADS: Mapping[str, tuple[Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor], int]] = {
    "saliency": (_gradient, 1),
    "smoothgrad": (_gradient, 1),
    "vargrad": (_gradient, 1),
    "guided_backprop": (_gradient, 1),
    "input_x_gradient": (_input_x_gradient, 1),
    "deep_lift": (_integrated, _NODES),
    "expected_gradients": (_integrated, _NODES),
    "integrated_gradients": (_integrated, _NODES),
    "lrp": (_input_x_gradient, 1),
}
"""Maps that lead: where a method is no differentiable function itself, the one that it is nearest to."""
