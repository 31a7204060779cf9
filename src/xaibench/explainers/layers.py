"""Explanations of inner layers and single neurons: what a layer says, and what its units add to a logit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from xaibench.errors import InputError, UnsupportedError, unknown_name
from xaibench.explainers.attribution import Cost
from xaibench.explainers.base import Targets
from xaibench.explainers.baselines import Baseline, baseline_inputs
from xaibench.explainers.budget import DEFAULT_BUDGET, memory_budget
from xaibench.explainers.target import TargetLogit, completeness_gap
from xaibench.registry import Registry, Spec
from xaibench.rng import check_seed
from xaibench.types import Capability, Classifier, Inputs, check_classifier

__all__ = [
    "LayerActivation",
    "LayerAttribution",
    "LayerConductance",
    "LayerExplainer",
    "LayerGradientXActivation",
    "LayerIntegratedGradients",
    "NeuronGradient",
    "NeuronIntegratedGradients",
    "explain_layer",
    "layer_explainers",
]


@dataclass(frozen=True, kw_only=True)
class LayerAttribution:
    """Attributions for n samples to the units of a layer, or of one unit to the inputs."""

    values: Tensor
    """In the shape of the layer's output (n, ...), channels first for images; of neuron methods, of the inputs."""
    layer: str
    target: Tensor | None
    """(n,), int64: the classes whose logits are explained; None where none is."""
    baseline: Tensor | None
    method: str
    params: Mapping[str, Any]
    """All fields of the method; a tensor among them appears as ``"given"``."""
    completeness_gap: Tensor | None
    """(n,): how far values miss the change that they should add up to, relative to it: that of the logit from the
    baseline to the input, or that of the unit. Where other paths lead around a layer, its share is not all of it."""
    cost: Cost


class LayerExplainer(Protocol):
    """A way to explain a layer; see `explain_layer`."""

    name: ClassVar[str]

    def __call__(
        self, model: Classifier, inputs: Inputs, targets: Targets = None, *, layer: str, seed: int = 0
    ) -> LayerAttribution:
        """Attributions at ``layer``, a name in `Classifier.layers` that runs once in a pass.

        Raises `InputError` for an unknown layer, naming those that exist, and for targets where no logit is explained;
        `UnsupportedError` for a model without what is needed.
        """
        ...


layer_explainers: Registry[LayerExplainer] = Registry("layer explainer")
"""Explainers of layers and neurons by name."""


def explain_layer(
    model: Classifier,
    inputs: Inputs,
    targets: Targets = None,
    *,
    layer: str,
    method: str = "layer_conductance",
    seed: int = 0,
    memory: int = DEFAULT_BUDGET,
    **params: Any,
) -> LayerAttribution:
    """Explain a layer by a method's name or spec: see `LayerExplainer` and `LayerAttribution`.

    ``params`` are the method's fields; ``memory`` bounds what a pass through the model holds, in bytes.
    """
    check_classifier(model)
    check_seed(seed)
    explainer = layer_explainers.create(Spec.parse(method).adding(params))
    with memory_budget(memory):
        return explainer(model, inputs, targets, layer=layer, seed=seed)


@layer_explainers.register("layer_activation")
@dataclass(frozen=True, kw_only=True)
class LayerActivation:
    """The output of the layer as it is."""

    name: ClassVar[str]

    def __call__(
        self, model: Classifier, inputs: Inputs, targets: Targets = None, *, layer: str, seed: int = 0
    ) -> LayerAttribution:
        """See `LayerExplainer`."""
        frame = _Frame(self, model, inputs, layer, targets, needs=(), explains_logit=False)
        return frame.result(frame.activations(frame.logit.x))


@layer_explainers.register("layer_gradient_x_activation")
@dataclass(frozen=True, kw_only=True)
class LayerGradientXActivation:
    """The output of the layer times the gradient of the logit there: each unit's part in the linearised logit.

    Shrikumar et al., *Not just a black box: learning important features through propagating activation differences*
    (2016), at a layer.
    """

    name: ClassVar[str]

    def __call__(
        self, model: Classifier, inputs: Inputs, targets: Targets = None, *, layer: str, seed: int = 0
    ) -> LayerAttribution:
        """See `LayerExplainer`."""
        frame = _Frame(self, model, inputs, layer, targets)
        rows = torch.arange(len(frame.logit.x), device=frame.logit.x.device)
        return frame.result(frame.activations(frame.logit.x) * frame.gradients(rows, frame.logit.x))


@layer_explainers.register("layer_integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class LayerIntegratedGradients:
    """Integrated gradients with the output of the layer as the input, from what it says of the baseline.

    Sundararajan et al., *Axiomatic attribution for deep networks* (ICML 2017). What goes around the layer is that of
    the input; at a layer that all paths go through, values add up to the change of the logit. ``steps`` points of the
    Gauss-Legendre rule are taken.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    steps: int = 32

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(
        self, model: Classifier, inputs: Inputs, targets: Targets = None, *, layer: str, seed: int = 0
    ) -> LayerAttribution:
        """See `LayerExplainer`."""
        frame = _Frame(self, model, inputs, layer, targets)
        logit = frame.logit
        baseline = baseline_inputs(self.baseline, model, logit.x)
        start, end = frame.activations(baseline), frame.activations(logit.x)

        def gradient(rows: Tensor, points: Tensor) -> Tensor:
            logit.count(forward=len(rows), backward=len(rows))

            def value(point: Tensor) -> Tensor:
                logits = model.logits_from(logit.x[rows], layer, point)
                return logits.gather(1, logit.target[rows, None])

            return _slope(value, points)

        values = _integrated(logit, gradient, start, end, self.steps)
        return frame.result(values, baseline=baseline, change=frame.change(baseline))


@layer_explainers.register("layer_conductance")
@dataclass(frozen=True, kw_only=True)
class LayerConductance:
    """The part of integrated gradients that flows through each unit of the layer.

    Dhamdhere et al., *How important is a neuron?* (ICLR 2019). Along the line from the baseline to the input, in
    ``steps`` pieces, the gradient at the layer (the mean of those at both ends of a piece) is multiplied by the change
    of the layer's output. Not for text, whose token ids have no line between them.
    """

    name: ClassVar[str]

    baseline: Baseline = "auto"
    steps: int = 64

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(
        self, model: Classifier, inputs: Inputs, targets: Targets = None, *, layer: str, seed: int = 0
    ) -> LayerAttribution:
        """See `LayerExplainer`."""
        frame = _Frame(self, model, inputs, layer, targets, continuous=True)
        x = frame.logit.x
        baseline = baseline_inputs(self.baseline, model, x)
        every = torch.arange(len(x), device=x.device)
        before, slope = frame.activations(baseline).double(), frame.gradients(every, baseline).double()
        values = torch.zeros_like(before)
        for step in range(1, self.steps + 1):
            point = baseline + (x - baseline) * (step / self.steps)
            output, gradient = frame.activations(point).double(), frame.gradients(every, point).double()
            values += (gradient + slope) / 2 * (output - before)
            before, slope = output, gradient
        return frame.result(values, baseline=baseline, change=frame.change(baseline))


@layer_explainers.register("neuron_gradient")
@dataclass(frozen=True, kw_only=True)
class NeuronGradient:
    """The gradient of one unit of the layer with respect to the input.

    Simonyan et al., *Deep inside convolutional networks* (2013), with a unit in place of a class. ``unit`` is its index
    in the layer's output; of an index that leaves axes open, such as a channel, the sum over them is meant.
    """

    name: ClassVar[str]

    unit: tuple[int, ...]

    def __call__(
        self, model: Classifier, inputs: Inputs, targets: Targets = None, *, layer: str, seed: int = 0
    ) -> LayerAttribution:
        """See `LayerExplainer`."""
        frame = _Frame(self, model, inputs, layer, targets, continuous=True, explains_logit=False)
        gradient = frame.of_unit(self.unit)
        x = frame.logit.x
        return frame.result(torch.cat([gradient(rows, x[rows]) for rows in frame.logit.split(len(x))]))


@layer_explainers.register("neuron_integrated_gradients")
@dataclass(frozen=True, kw_only=True)
class NeuronIntegratedGradients:
    """Integrated gradients of one unit of the layer, from a baseline to the input.

    Sundararajan et al., *Axiomatic attribution for deep networks* (ICML 2017), with a unit in place of the logit; see
    `NeuronGradient` for ``unit``, and `LayerIntegratedGradients` for ``steps``.
    """

    name: ClassVar[str]

    unit: tuple[int, ...]
    baseline: Baseline = "auto"
    steps: int = 32

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(
        self, model: Classifier, inputs: Inputs, targets: Targets = None, *, layer: str, seed: int = 0
    ) -> LayerAttribution:
        """See `LayerExplainer`."""
        frame = _Frame(self, model, inputs, layer, targets, continuous=True, explains_logit=False)
        x = frame.logit.x
        gradient = frame.of_unit(self.unit)
        baseline = baseline_inputs(self.baseline, model, x)
        values = _integrated(frame.logit, gradient, baseline, x, self.steps)
        end, start = (_unit_sum(frame.activations(point), self.unit).double() for point in (x, baseline))
        return frame.result(values, baseline=baseline, change=end - start)


class _Frame:
    """What all methods share: the checks of model, layer and targets, passes in batches, and the result."""

    def __init__(
        self,
        explainer: Any,
        model: Classifier,
        inputs: Inputs,
        layer: str,
        targets: Targets,
        *,
        needs: tuple[Capability, ...] = (Capability.GRADIENTS,),
        continuous: bool = False,
        explains_logit: bool = True,
    ) -> None:
        self._explainer, self._model, self.layer = explainer, model, layer
        if continuous and model.task == "text":
            raise UnsupportedError(f"{explainer.name} needs inputs that can be moved a little: token ids cannot")
        if not explains_logit and targets is not None:
            raise InputError(f"expected no targets, for {explainer.name} does not look at the logits, got {targets!r}")
        self._explains_logit = explains_logit
        needs = (*needs, Capability.ACTIVATIONS)
        self.logit = TargetLogit(explainer, model, inputs, targets if explains_logit else 0, needs=needs)
        if layer not in model.layers:
            raise unknown_name("layer", layer, model.layers)
        with torch.no_grad():
            one = model.activations(self.logit.x[:1], layer)
        self.logit.count(forward=1)
        if len(one) != 1 or not one.is_floating_point():
            raise UnsupportedError(
                f"{explainer.name} needs a layer with one row of numbers for each sample:"
                f" layer {layer!r} gives {tuple(one.shape)} of {one.dtype} for one"
            )
        self.shape = tuple(one.shape[1:])

    def activations(self, x: Tensor) -> Tensor:
        """Outputs (m, ...) of the layer."""
        self.logit.count(forward=len(x))
        with torch.no_grad():
            parts = [self._model.activations(x[rows], self.layer) for rows in self.logit.split(len(x), backward=False)]
        return torch.cat(parts)

    def gradients(self, rows: Tensor, x: Tensor) -> Tensor:
        """Gradients (m, ...) of the target logits of samples ``rows`` (m,) at the layer, where inputs are ``x``."""
        self.logit.count(forward=len(x), backward=len(x))
        return torch.cat(
            [
                self._model.activation_gradient(x[part], self.layer, self.logit.target[rows[part]]).gradient
                for part in self.logit.split(len(x))
            ]
        )

    def of_unit(self, unit: tuple[int, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        """The gradient of a unit at points, for samples by their rows."""
        fits = 0 < len(unit) <= len(self.shape)
        if not fits or not all(0 <= index < size for index, size in zip(unit, self.shape, strict=False)):
            raise InputError(f"expected `unit` as an index into {self.shape} of layer {self.layer!r}, got {unit}")

        def gradient(rows: Tensor, points: Tensor) -> Tensor:
            self.logit.count(forward=len(rows), backward=len(rows))
            return _slope(lambda point: _unit_sum(self._model.activations(point, self.layer), unit), points)

        return gradient

    def change(self, baseline: Tensor) -> Tensor:
        """(n,), float64: how much the logits rise from the baseline to the input."""
        logit = self.logit
        return logit.value(logit.embed(logit.x)) - logit.value(logit.embed(baseline))

    def result(
        self, values: Tensor, *, baseline: Tensor | None = None, change: Tensor | None = None
    ) -> LayerAttribution:
        """Put the result together; ``change`` (n,) is what the values should add up to, if anything."""
        if not bool(values.isfinite().all()):
            raise UnsupportedError(f"{self._explainer.name} needs finite outputs and gradients, got NaN or infinity")
        params = {field.name: getattr(self._explainer, field.name) for field in fields(self._explainer)}
        return LayerAttribution(
            values=values.detach().float(),
            layer=self.layer,
            target=self.logit.target if self._explains_logit else None,
            baseline=baseline,
            method=self._explainer.name,
            params={name: "given" if isinstance(value, Tensor) else value for name, value in params.items()},
            completeness_gap=None if change is None else completeness_gap(values, change),
            cost=self.logit.cost,
        )


def _integrated(
    logit: TargetLogit, gradient: Callable[[Tensor, Tensor], Tensor], start: Tensor, end: Tensor, steps: int
) -> Tensor:
    """Integrated gradients (n, ...), float64, along straight lines; ``gradient`` takes rows and points."""
    nodes, weights = (end.new_tensor(part, dtype=torch.float64) for part in np.polynomial.legendre.leggauss(steps))
    mean = torch.zeros_like(end, dtype=torch.float64)
    for part in logit.split(len(end) * steps):
        rows, node = part // steps, part % steps
        shape = (-1, *[1] * (end.ndim - 1))
        share = ((nodes[node] + 1) / 2).view(shape).to(end.dtype)
        found = gradient(rows, start[rows] + share * (end - start)[rows])
        mean.index_add_(0, rows, (weights[node] / 2).view(shape) * found.double())
    return mean * (end - start)


def _slope(value: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """The gradient of the summed values at points."""
    with torch.enable_grad():
        points = points.detach().clone().requires_grad_()
        total = value(points).sum()
        return torch.autograd.grad(total, points, allow_unused=True, materialize_grads=True)[0]


def _unit_sum(output: Tensor, unit: tuple[int, ...]) -> Tensor:
    """(m,): a unit of outputs (m, ...), or the sum over the axes that its index leaves open."""
    for index in unit:
        output = output[:, index]
    return output.reshape(len(output), -1).sum(dim=1)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise InputError(f"expected `steps` >= 1, got {steps}")
