"""Which output classifies, and what it is: squashed values are told from logits in every precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import pytest
import torch
import torch.nn.functional as F
from keras import layers
from torch import Tensor, nn

from xaibench import InputError, KerasClassifier, TorchClassifier
from xaibench.classifiers import ExportedClassifier
from xaibench.types import Capability

X = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))


class Ends(nn.Module):
    """A linear map, and what is done to its outputs."""

    def __init__(self, end: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(4, 3)
        self.end = end

    def forward(self, x: Tensor) -> Any:
        return self.end(self.head(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("cast", [Tensor.float, Tensor.double, lambda p: p.to(torch.float32), lambda p: p.clone()])
def test_softmax_in_half_precision_is_seen_through_casts(dtype: torch.dtype, cast: Callable[[Tensor], Tensor]) -> None:
    model = TorchClassifier(Ends(lambda z: cast(F.softmax(z.to(dtype), 1))), task="tabular")
    expected = model.module.get_submodule("head")(X)
    torch.testing.assert_close(model.logits(X).float(), expected, atol=1e-2, rtol=0)
    assert Capability.LOGITS in model.capabilities


def test_an_exported_program_is_cut_before_a_softmax_behind_a_cast() -> None:
    module = Ends(lambda z: F.softmax(z.half(), 1).float())
    model = ExportedClassifier(torch.export.export(module, (X,)), task="tabular")
    torch.testing.assert_close(model.logits(X).float(), module.head(X), atol=1e-2, rtol=0)
    assert Capability.LOGITS in model.capabilities


def test_a_cast_of_logits_is_one() -> None:
    model = TorchClassifier(Ends(lambda z: (F.softmax(z, 1), z)[1].half().float()), task="tabular")
    torch.testing.assert_close(model.logits(X), model.module.get_submodule("head")(X), atol=1e-2, rtol=0)


@pytest.mark.parametrize("excess", [0.999, 1.004])
def test_rows_that_sum_almost_to_one_are_asked_about(excess: float) -> None:
    def end(z: Tensor) -> Tensor:
        return z.exp() / z.exp().sum(1, keepdim=True) * excess

    with pytest.raises(InputError, match="expected `outputs` as 'logits' or 'probabilities' of a model whose outputs"):
        TorchClassifier(Ends(end), task="tabular").logits(X)
    model = TorchClassifier(Ends(end), task="tabular", outputs="probabilities")
    torch.testing.assert_close(model.logits(X).exp().sum(1), torch.full((5,), excess))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_softmax_of_a_mixed_keras_model_is_seen_through_its_cast(policy: str) -> None:
    keras.utils.set_random_seed(0)
    dense = layers.Dense(3, activation="softmax", dtype=policy)
    network = keras.Sequential([keras.Input((4,)), dense, layers.Activation("linear", dtype="float32")])
    model = KerasClassifier(network, task="tabular")
    expected = X @ torch.from_numpy(dense.kernel.numpy())
    torch.testing.assert_close(model.logits(X), expected, atol=2e-2, rtol=0)
    assert {Capability.LOGITS, Capability.DETERMINISTIC} <= model.capabilities


class Heads(NamedTuple):
    hidden: Tensor
    logits: Tensor


def test_the_output_called_logits_classifies() -> None:
    named = TorchClassifier(Ends(lambda z: Heads(torch.cat([z, z], 1), z)), task="tabular")
    assert named.num_classes == named.logits(X).shape[1] == 3
    unnamed = TorchClassifier(Ends(lambda z: (torch.cat([z, z], 1), z)), task="tabular")
    assert unnamed.logits(X).shape == (5, 6)
    inputs = keras.Input((4,))
    heads = [layers.Dense(7, name="aux")(inputs), layers.Dense(3, name="logits")(inputs)]
    network = keras.Model(inputs, heads)
    model = KerasClassifier(network, task="tabular")
    torch.testing.assert_close(model.logits(X), torch.from_numpy(network(X.numpy())[1].numpy()))


class Mixture(nn.Module):
    """Two experts' probabilities, weighed by a gate: probabilities again, by a matrix product."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gate, self.one, self.two = nn.Linear(5, 2), nn.Linear(5, 3), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        experts = torch.stack([self.one(x).softmax(1), self.two(x).softmax(1)], dim=1)
        return torch.matmul(self.gate(x).softmax(1)[:, None], experts)[:, 0]


def mixture_in_keras() -> keras.Model:
    keras.utils.set_random_seed(0)
    x = keras.Input((5,))
    parts = [layers.Rescaling(0.5)(layers.Dense(3, activation="softmax")(x)) for _ in range(2)]
    return keras.Model(x, layers.Add()(parts))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TorchClassifier(Mixture(), task="tabular", bounds=(-9, 9)),
        lambda: KerasClassifier(mixture_in_keras(), task="tabular", bounds=(-9, 9)),
    ],
)
def test_mixtures_of_probabilities_are_probabilities(make: Callable[[], Any]) -> None:
    model, x = make(), torch.randn(6, 5)
    torch.testing.assert_close(model.logits(x).exp().sum(1), torch.ones(6))
    assert Capability.LOGITS not in model.capabilities
