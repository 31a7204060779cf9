"""TensorFlow functions as differentiable torch functions, over memory that both share (DLPack)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import dlpack

from xaibench.classifiers.runtime import tensorflow
from xaibench.errors import InputError, UnsupportedError
from xaibench.losses import ce
from xaibench.types import LossGradient

__all__ = ["Bridge", "LossBridge", "one_line", "to_tensorflow", "to_torch"]

_ALIGNMENT = 64
_COLOUR = re.compile(r"\x1b\[\d*m")


def to_tensorflow(x: Tensor) -> Any:
    """The same memory as a TensorFlow tensor; copied where TensorFlow would abort on its alignment."""
    x = x.detach().contiguous()
    if x.data_ptr() % _ALIGNMENT:
        x = x.clone()
    return tensorflow().experimental.dlpack.from_dlpack(dlpack.to_dlpack(x))


def _borrowed(y: Any) -> Tensor:
    """The same memory as a torch tensor: TensorFlow may share it elsewhere, so it must never be written to."""
    return dlpack.from_dlpack(tensorflow().experimental.dlpack.to_dlpack(y))


def to_torch(y: Any) -> Tensor:
    """A copy as a torch tensor."""
    return _borrowed(y).clone()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` as a graph that new batch sizes do not trace again."""
    return tensorflow().function(function, reduce_retracing=True, autograph=False)


def connected(gradient: Any) -> Any:
    """A gradient as TensorFlow found it, which is None where nothing differentiable leads to the input."""
    if gradient is None:
        raise UnsupportedError("the logits do not depend on the input through differentiable operations")
    return gradient


@contextmanager
def one_line(x: Tensor) -> Iterator[None]:
    """Errors of TensorFlow, which run over pages, as one line that states the shape of the batch."""
    errors = tensorflow().errors
    try:
        yield
    except InputError:
        raise
    except (errors.OpError, TypeError, ValueError) as error:
        lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
        what = " ".join(lines[:2])[:240] or type(error).__name__
        raise InputError(f"expected a batch that the model can run on, got {tuple(x.shape)}: {what}") from error


class Bridge:
    """``call(x, *constants)`` of TensorFlow tensors as a torch function, differentiable twice in a floating ``x``.

    Nothing is kept between the passes: the backward pass computes the forward pass again, which costs less than
    keeping a tape that would also hold the gradients of the weights.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        tf = tensorflow()
        # A second derivative that does not exist is that of a linear map.
        zero = tf.UnconnectedGradients.ZERO

        def vjp(x: Any, g: Any, *constants: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                y = call(x, *constants)
            return connected(tape.gradient(y, x, output_gradients=g))

        def vjp_of_vjp(x: Any, g: Any, v: Any, *constants: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([x, g])
                s = vjp(x, g, *constants)
            return tape.gradient(s, [x, g], output_gradients=v, unconnected_gradients=zero)

        self.forward, self.vjp, self.vjp_of_vjp = compiled(call), compiled(vjp), compiled(vjp_of_vjp)

    def __call__(self, x: Tensor, *constants: Tensor) -> Tensor:
        """The value at ``x``; ``constants`` take no gradients."""
        with one_line(x):
            if not x.is_floating_point():
                return to_torch(self.forward(to_tensorflow(x), *map(to_tensorflow, constants)))
            return _Forward.apply(x, self, *constants)


class LossBridge:
    """``call(x, *constants)`` giving logits, then a loss of them and its gradient with respect to ``x``, in one graph.

    Cross-entropy is TensorFlow's own. Any other loss, small work as it is, is computed by torch in the middle of the
    graph, so that the model runs forward only once and no loss is written twice. ``outward`` makes a gradient in new
    memory from one in TensorFlow's.
    """

    def __init__(self, call: Callable[..., Any], outward: Callable[[Tensor], Tensor] = Tensor.clone) -> None:
        tf = tensorflow()
        self._outward = outward
        self._calls: dict[int, _HostLoss] = {}
        self._keys = itertools.count()

        def cross_entropy(y: Any, x: Any, *constants: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                logits = call(x, *constants)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            return losses, connected(tape.gradient(losses, x)), logits

        def on_host(y: Any, key: Any, x: Any, *constants: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                logits = call(x, *constants)
            losses, slope = tf.numpy_function(self._host, [key, logits, y], [logits.dtype, logits.dtype])
            slope.set_shape(logits.shape)
            return losses, connected(tape.gradient(logits, x, output_gradients=slope)), logits

        self._cross_entropy, self._on_host = compiled(cross_entropy), compiled(on_host)

    def __call__(
        self, loss: Callable[[Tensor, Tensor], Tensor], y: Tensor, x: Tensor, *constants: Tensor
    ) -> LossGradient:
        """Loss per sample, gradient of its sum at ``x``, and logits."""
        labels, *inputs = map(to_tensorflow, (y, x, *constants))
        if loss is ce:
            with one_line(x):
                return self._result(*self._cross_entropy(labels, *inputs))
        key = next(self._keys)
        self._calls[key] = host = _HostLoss(loss)
        try:
            with one_line(x):
                results = self._on_host(labels, tensorflow().constant(key, "int64"), *inputs)
        except Exception:
            if host.error is not None:
                raise host.error from None
            raise
        finally:
            del self._calls[key]
        return self._result(*results)

    def _result(self, losses: Any, gradient: Any, logits: Any) -> LossGradient:
        return LossGradient(to_torch(losses), self._outward(_borrowed(gradient)), to_torch(logits))

    def _host(self, key: Any, logits: Any, y: Any) -> Any:
        return self._calls[int(key)](logits, y)


class _HostLoss:
    """A torch loss over arrays, with its gradient; keeps the error that TensorFlow would bury."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.loss = loss
        self.error: Exception | None = None

    def __call__(self, logits: Any, y: Any) -> Any:
        try:
            with torch.enable_grad():
                point = torch.from_numpy(logits).clone().requires_grad_()
                losses = self.loss(point, torch.from_numpy(y).clone())
                (slope,) = torch.autograd.grad(losses.sum(), point)
            return losses.detach().numpy(), slope.numpy()
        except Exception as error:
            self.error = error
            raise


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, bridge: Bridge, *constants: Tensor) -> Tensor:
        return to_torch(bridge.forward(*map(to_tensorflow, (x, *constants))))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, ctx.bridge, *constants = inputs
        ctx.save_for_backward(x, *constants)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, *constants = ctx.saved_tensors
        gradient = _Backward.apply(x, gradients[0], ctx.bridge, *constants)
        return gradient, None, *(None for _ in constants)

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, bridge: Bridge, *constants: Tensor) -> Any:
        folded = [_fold(t, d, info.batch_size) for t, d in zip((x, *constants), (dims[0], *dims[2:]), strict=True)]
        return _unfold(_Forward.apply(folded[0], bridge, *folded[1:]), info.batch_size), 0


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, g: Tensor, bridge: Bridge, *constants: Tensor) -> Tensor:
        return to_torch(bridge.vjp(*map(to_tensorflow, (x, g, *constants))))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, g, ctx.bridge, *constants = inputs
        ctx.save_for_backward(x, g, *constants)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        if gradients[0].requires_grad:
            raise UnsupportedError("third derivatives through TensorFlow are not to be had: expected at most two")
        x, g, *constants = ctx.saved_tensors
        a, b = ctx.bridge.vjp_of_vjp(*map(to_tensorflow, (x, g, gradients[0], *constants)))
        return to_torch(a), to_torch(b), None, *(None for _ in constants)

    @staticmethod
    def vmap(info: Any, dims: Any, x: Tensor, g: Tensor, bridge: Bridge, *constants: Tensor) -> Any:
        tensors, places = (x, g, *constants), (*dims[:2], *dims[3:])
        a, b, *rest = (_fold(t, d, info.batch_size) for t, d in zip(tensors, places, strict=True))
        return _unfold(_Backward.apply(a, b, bridge, *rest), info.batch_size), 0


def _fold(x: Tensor, dim: int | None, size: int) -> Tensor:
    """A mapped dimension moved into the batch; what is not mapped is repeated."""
    x = x.unsqueeze(0).expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.reshape(-1, *x.shape[2:])


def _unfold(x: Tensor, size: int) -> Tensor:
    return x.reshape(size, -1, *x.shape[1:])
