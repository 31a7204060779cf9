"""A Keras model in training, as objectives see it: they stay in torch, TensorFlow computes values and gradients.

An eager tape around a traced pass keeps what its backward pass needs, so nothing is computed twice and random layers
answer once. Weights stand in torch as leaves of the same shapes, whose gradients the tape fills in: torch accumulates
and differentiates them as its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xaibench.classifiers.bridge import LossBridge, compiled, connected, one_line, to_tensorflow, to_torch
from xaibench.classifiers.graph import before_squash
from xaibench.classifiers.keras_layers import named_layers, tapped_calls, tracing
from xaibench.classifiers.runtime import tensorflow
from xaibench.errors import InputError
from xaibench.losses import ce
from xaibench.rng import SampleRng
from xaibench.threats import Threat
from xaibench.training.learner import Normalisation, given
from xaibench.training.objectives.ascent import SummedCrossEntropy
from xaibench.types import Bounds, Classifier, Loss

__all__ = ["KerasForward", "KerasPasses", "unchanged"]


class KerasPasses:
    """The graphs of a model from a batch in input units to its outputs; each is traced when needed.

    Inside TensorFlow images are channels last.
    """

    def __init__(self, model: Any, normalise: Normalisation) -> None:
        self._model, self._normalise = model, normalise
        self._made: dict[tuple[str, bool, bool], Any] = {}

    def outputs(self, x: Any, shift: Any = None, *, training: bool, fixed: bool = False) -> list[Any]:
        """All outputs of TensorFlow tensors, the first as logits (n, classes).

        ``fixed`` inputs take no gradients: a graph that is called under a tape is otherwise followed back to all of
        them, wanted or not.
        """
        kind = "outputs of fixed" if fixed else "outputs"
        found: list[Any] = self._function(kind, training, shift is not None)(x, shift)
        return found

    def logits(self, x: Tensor, *, training: bool) -> Tensor:
        """Logits (n, classes) of a batch in input units, without gradients."""
        return to_torch(self.outputs(to_tensorflow(_inward(x)), training=training)[0])

    def slope(
        self, loss: Callable[[Tensor], Tensor], x: Tensor, shift: Tensor | None = None, *, training: bool
    ) -> Tensor:
        """The gradient of a scalar of the logits towards ``x``, or ``shift`` where given, in one graph."""
        bridge = self._function("slope", training, shift is not None)
        if isinstance(loss, SummedCrossEntropy):
            at: Loss = ce
            y = loss.y
        else:
            at, y = (lambda z, y: loss(z)), torch.zeros(len(x), dtype=torch.int64)
        gradient: Tensor = bridge(at, y, *((x,) if shift is None else (shift, x))).gradient
        return gradient

    def signed_ascent(
        self, start: Tensor, y: Tensor, low: Tensor, high: Tensor, *, steps: int, size: float, training: bool
    ) -> Tensor:
        """See `SignedAscending`."""
        tf = tensorflow()
        points = [to_tensorflow(_inward(t)) for t in (start, low, high)]
        with one_line(start):
            climb = self._function("ascent", training, False)
            end = climb(points, to_tensorflow(y), tf.constant(steps), tf.constant(size, points[0].dtype))
        return _outward(to_torch(end))

    def _function(self, kind: str, training: bool, shifted: bool) -> Any:
        key = kind, training, shifted
        if key not in self._made:
            if kind == "outputs":
                made = compiled(lambda x, shift: self._run(x, shift, training))
            elif kind == "outputs of fixed":
                made = compiled(lambda x, shift: self._run(_fixed(x), _fixed(shift), training))
            elif kind == "ascent":
                made = compiled(partial(self._climb, training))
            elif shifted:
                made = LossBridge(lambda shift, x: self._run(x, shift, training)[0])
            else:
                made = LossBridge(lambda x: self._run(x, None, training)[0])
            self._made[key] = made
        return self._made[key]

    def _climb(self, training: bool, points: list[Any], y: Any, steps: Any, size: Any) -> Any:
        """As it is traced."""
        start, low, high = points
        tf = tensorflow()

        def step(done: Any, point: Any) -> tuple[Any, Any]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(point)
                logits = self._run(point, None, training)[0]
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            moved = point + size * tf.sign(connected(tape.gradient(losses, point)))
            return done + 1, tf.clip_by_value(moved, low, high)

        return tf.while_loop(lambda done, _: done < steps, step, (0, start), parallel_iterations=1)[1]

    def _run(self, x: Any, shift: Any, training: bool) -> list[Any]:
        """As it is traced."""
        mean, std = self._normalise.mean, self._normalise.std
        if mean is not None and std is not None:
            x = (x - _channels_last(mean).numpy()) / _channels_last(std).numpy()
        tap = None if shift is None else _Shift(shift)
        taps = nullcontext() if tap is None else tapped_calls([(self._embedding(), tap)])
        with tracing(self._model), taps:
            outputs = self._model(x, training=training)
        if tap is not None:
            tap.check()
        first, *others = outputs if isinstance(outputs, list | tuple) else [outputs]
        return [_logits(first), *others]

    def _embedding(self) -> Any:
        """The first one, in order of definition."""
        from keras import layers

        found = (part for part in named_layers(self._model).values() if isinstance(part, layers.Embedding))
        embedding = next(found, None)
        if embedding is None:
            raise InputError("expected a network with an Embedding layer for token ids, got none")
        return embedding


@dataclass
class KerasForward:
    """`Forward` over a model: one batch of one step.

    ``weights`` are the variables that move, ``leaves`` what stands for them in torch, ``statistics`` the variables that
    layers set themselves, as batch norm does.
    """

    passes: KerasPasses
    weights: Sequence[Any]
    leaves: Sequence[Tensor]
    statistics: Sequence[Any]
    classifier: Classifier
    memory: MutableMapping[str, Tensor]
    bounds: Bounds
    rng: SampleRng
    progress: float
    given_threat: Threat | None
    attack_training: bool
    """Whether attacks see the network in training mode."""

    def __post_init__(self) -> None:
        self.ascended = ExitStack()
        """What brings ascended weights back when the batch is over."""

    @property
    def threat(self) -> Threat:
        return given(self.given_threat)

    def __call__(self, x: Tensor, *, shift: Tensor | None = None) -> tuple[Tensor, ...]:
        native, moved = _inward(x), None if shift is None else _snapshot(shift)
        entered = _snapshot(native)
        points = [(native, entered), *([] if shift is None else [(shift, moved)])]
        points = [(tensor, point) for tensor, point in points if tensor.requires_grad]
        with self._tape() as tape:
            for _, point in points:
                tape.watch(point)
            outputs = self.passes.outputs(entered, moved, training=True, fixed=not points)
        return tuple(map(_outward, self._taped(tape, outputs, points)))

    def evaluate(self, x: Tensor) -> Tensor:
        return self.passes.logits(x, training=self.attack_training)

    def embed(self, x: Tensor) -> Tensor:
        return self.classifier.embed(x)

    def input_gradient(
        self,
        x: Tensor,
        loss: Callable[[Tensor], Tensor],
        *,
        shift: Tensor | None = None,
        differentiable: bool = False,
    ) -> Tensor:
        native, training = _inward(x.detach()), self.attack_training
        if not differentiable:
            return _outward(self.passes.slope(loss, native, shift, training=training))
        entered, moved = _snapshot(native), None if shift is None else _snapshot(shift)
        point = entered if moved is None else moved
        # The outer tape records the inner one's work, so that the gradient has a gradient.
        with self._tape() as outer, tensorflow().GradientTape(watch_accessed_variables=False) as inner:
            inner.watch(point)
            outputs = self.passes.outputs(entered, moved, training=training)
        (logits,) = self._taped(outer, outputs[:1], [])
        (slope,) = torch.autograd.grad(loss(logits), logits, create_graph=True)
        above = _snapshot(slope)
        with outer:
            outer.watch(above)
            gradient = inner.gradient(outputs[0], point, output_gradients=above)
        return _outward(self._taped(outer, [gradient], [(slope, above)])[0])

    def signed_ascent(self, start: Tensor, y: Tensor, low: Tensor, high: Tensor, *, steps: int, size: float) -> Tensor:
        """See `SignedAscending`."""
        return self.passes.signed_ascent(start, y, low, high, steps=steps, size=size, training=self.attack_training)

    def ascend_weights(self, loss: Callable[[], Tensor], gamma: float) -> None:
        moving = [(leaf, weight) for leaf, weight in zip(self.leaves, self.weights, strict=True) if leaf.ndim >= 2]
        with unchanged(self.statistics):  # batch norm learns from the pass at the moved weights alone
            gradients = torch.autograd.grad(loss(), [leaf for leaf, _ in moving], allow_unused=True)
        for (_, weight), gradient in zip(moving, gradients, strict=True):
            if gradient is None:
                continue
            value = torch.from_numpy(np.array(weight.numpy()))
            step = gradient * (gamma * value.norm() / gradient.norm().clamp_min(1e-12))
            self.ascended.callback(weight.assign, value.numpy())
            weight.assign((value + step).numpy())

    def _tape(self) -> Any:
        tape = tensorflow().GradientTape(persistent=True, watch_accessed_variables=False)
        with tape:
            for weight in self.weights:
                tape.watch(weight.value)
        return tape

    def _taped(self, tape: Any, values: list[Any], points: Sequence[tuple[Tensor, Any]]) -> tuple[Tensor, ...]:
        """Values on the tape, differentiable towards the weights and ``points``, pairs of torch and TensorFlow."""
        sources = [*(weight.value for weight in self.weights), *(point for _, point in points)]
        found = _Taped.apply(tape, values, sources, *self.leaves, *(tensor for tensor, _ in points))
        return tuple(found)


@contextmanager
def unchanged(variables: Sequence[Any]) -> Iterator[None]:
    """The values of these variables before the block come back after it."""
    before = [np.array(variable.numpy()) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


class _Taped(torch.autograd.Function):
    """Values that a tape recorded, as torch sees them: the backward pass asks the tape."""

    @staticmethod
    def forward(ctx: Any, tape: Any, values: list[Any], sources: list[Any], *leaves: Tensor) -> tuple[Tensor, ...]:
        ctx.tape, ctx.values, ctx.sources = tape, values, sources
        return tuple(map(to_torch, values))

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Any, ...]:
        tf = tensorflow()
        above = [to_tensorflow(cotangent) for cotangent in cotangents]
        found = ctx.tape.gradient(ctx.values, ctx.sources, output_gradients=above)
        return None, None, None, *(None if g is None else to_torch(tf.convert_to_tensor(g)) for g in found)


class _Shift:
    """A tap that adds to what an embedding returns."""

    def __init__(self, shift: Any) -> None:
        self._shift, self._problem = shift, "the network does not use its first Embedding layer"

    def __call__(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        embedded = call(*args, **kwargs)
        got = tuple(embedded.shape[1:])
        fits = embedded.shape.rank == 3 and embedded.shape[1:].is_compatible_with(self._shift.shape[1:])
        self._problem = "" if fits else f"its first Embedding layer gives (n, {', '.join(map(str, got))})"
        return embedded + tensorflow().cast(self._shift, embedded.dtype) if fits else embedded

    def check(self) -> None:
        """Raise what could not be raised inside the model, whose errors Keras rewrites."""
        if self._problem:
            shape = ", ".join(map(str, self._shift.shape[1:]))
            raise InputError(f"expected token embeddings (n, {shape}) to add to, got a network where {self._problem}")


def _fixed(x: Any) -> Any:
    return None if x is None else tensorflow().stop_gradient(x)


def _logits(output: Any) -> Any:
    """Those (n, classes) before a softmax or sigmoid; a single unit becomes a pair as every classifier has it."""
    tf = tensorflow()
    before = before_squash(output)
    z = output if before is None else before
    z = z[:, None] if z.shape.rank == 1 else z
    return tf.concat([-z / 2, z / 2], axis=1) if z.shape.rank == 2 and z.shape[1] == 1 else z


def _channels_last(statistic: Tensor) -> Tensor:
    return statistic.permute(1, 2, 0) if statistic.ndim == 3 else statistic


def _inward(x: Tensor) -> Tensor:
    """Images channels last, as the model has them."""
    if not x.is_floating_point():
        return x.to(torch.int32)
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def _outward(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def _snapshot(x: Tensor) -> Any:
    """A copy for TensorFlow, which a tape may keep: the caller may write to its own."""
    return to_tensorflow(x.detach().clone(memory_format=torch.contiguous_format))
