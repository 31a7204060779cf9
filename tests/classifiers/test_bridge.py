"""TensorFlow as a differentiable torch function: derivatives, transforms, memory, threads."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from xaibench import UnsupportedError
from xaibench.classifiers.bridge import Bridge, LossBridge, to_tensorflow, to_torch
from xaibench.classifiers.runtime import tensorflow
from xaibench.losses import LOSSES

tf = tensorflow()
W = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def smooth(x: Any) -> Any:
    return tf.tanh(tf.matmul(x, to_tensorflow(W)) ** 2) * x[:, :1]


def reference(x: Tensor) -> Tensor:
    return torch.tanh((x @ W) ** 2) * x[:, :1]


@pytest.fixture(scope="module")
def bridge() -> Bridge:
    return Bridge(smooth)


def test_first_and_second_derivatives(bridge: Bridge) -> None:
    x = X.clone().requires_grad_()
    assert torch.autograd.gradcheck(bridge, x)
    assert torch.autograd.gradgradcheck(bridge, x)
    torch.testing.assert_close(bridge(X), reference(X))


def test_third_derivatives_are_refused_not_wrong(bridge: Bridge) -> None:
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(bridge(x).sum(), x, create_graph=True)
    with pytest.raises(UnsupportedError, match="third derivatives"):
        torch.autograd.grad(first.square().sum(), x, create_graph=True)


def test_function_transforms(bridge: Bridge) -> None:
    from torch.func import grad, jacrev, vjp, vmap

    torch.testing.assert_close(grad(lambda x: bridge(x).sum())(X), grad(lambda x: reference(x).sum())(X))
    torch.testing.assert_close(jacrev(bridge)(X), jacrev(reference)(X))
    stacked = torch.stack([X, 2 * X, -X])
    torch.testing.assert_close(vmap(bridge)(stacked), vmap(reference)(stacked))
    per_sample = vmap(grad(lambda row: bridge(row[None]).square().sum()))
    torch.testing.assert_close(per_sample(X), vmap(grad(lambda row: reference(row[None]).square().sum()))(X))
    torch.testing.assert_close(
        vjp(bridge, X)[1](torch.ones(5, 3).double()), vjp(reference, X)[1](torch.ones(5, 3).double())
    )


def test_constants_take_no_gradient_and_may_be_mapped() -> None:
    scaled = Bridge(lambda x, scale: x * tf.cast(scale, x.dtype)[:, None])
    x, scale = X.clone().requires_grad_(), torch.arange(5)
    (gradient,) = torch.autograd.grad(scaled(x, scale).sum(), x)
    torch.testing.assert_close(gradient, scale[:, None].expand(5, 4).double())
    mapped = torch.func.vmap(scaled, in_dims=(None, 0))(X, torch.stack([scale, 2 * scale]))
    torch.testing.assert_close(mapped, torch.stack([X * scale[:, None], 2 * X * scale[:, None]]))


def test_memory_is_shared_inwards_and_copied_outwards() -> None:
    x = torch.zeros(256)
    shared = to_tensorflow(x)
    x[0] = 1
    assert shared[0].numpy() == 1
    constant = tf.constant([1.0, 2.0])
    to_torch(constant).zero_()
    assert constant.numpy().tolist() == [1, 2]


@pytest.mark.parametrize("offset", range(1, 16))
def test_unaligned_memory_is_copied(offset: int) -> None:
    x = torch.rand(4096 + offset)[offset:]
    assert x.data_ptr() % 64
    assert tf.reduce_sum(to_tensorflow(x) * 2).numpy() == pytest.approx(2 * x.sum().item(), rel=1e-5)


def test_an_identity_does_not_hand_out_the_input() -> None:
    x = torch.zeros(64)
    y = Bridge(tf.identity)(x)
    y += 1
    assert x.sum() == 0


@pytest.mark.parametrize("name", LOSSES)
def test_fused_losses_equal_those_of_torch(name: str) -> None:
    y = torch.arange(5) % 3
    loss, gradient, logits = LossBridge(smooth)(LOSSES[name], y, X)
    x = X.clone().requires_grad_()
    expected = LOSSES[name](reference(x), y)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(logits, reference(X))
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), x)[0])


def test_errors_in_a_loss_come_out_as_they_are() -> None:
    fused = LossBridge(smooth)

    def broken(z: Tensor, y: Tensor) -> Tensor:
        raise LookupError("no such class")

    with pytest.raises(LookupError, match="no such class"):
        fused(broken, torch.zeros(5, dtype=torch.int64), X)
    assert fused(LOSSES["margin"], torch.zeros(5, dtype=torch.int64), X).loss.shape == (5,)
    assert not fused._calls


def test_threads_get_their_own_losses(bridge: Bridge) -> None:
    fused = LossBridge(smooth)
    y = torch.arange(5) % 3
    wrong: list[int] = []

    def work(scale: int) -> None:
        for _ in range(20):
            result = fused(lambda z, y: scale * z.sum(1), y, X)
            if not torch.allclose(result.loss, scale * reference(X).sum(1)):
                wrong.append(scale)

    threads = [threading.Thread(target=work, args=(scale,)) for scale in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
