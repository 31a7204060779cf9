"""What a classifier finds out by running its model: gradients, steadiness, wrong shapes; and that nothing is left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import torch
import torch.nn.functional as F
from keras import layers
from torch import Tensor, nn

from xaibench import InputError, KerasClassifier, TorchClassifier, UnsupportedError
from xaibench.classifiers import ExportedClassifier, SavedModelClassifier
from xaibench.classifiers.runtime import tensorflow
from xaibench.types import Capability, Classifier

tf = tensorflow()
X = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(6) % 3


class Before(nn.Module):
    """Something done to images before a linear classifier."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.step = step
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.step(x).flatten(1))


def torch_model(step: Callable[[Tensor], Tensor], **options: Any) -> Classifier:
    return TorchClassifier(Before(step), input_shape=(1, 8, 8), **options)


def keras_model(*steps: Any, dtype: str = "float32") -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8, 8, 1), dtype=dtype), *steps, layers.Flatten(), layers.Dense(3)])


class Stopped(layers.Layer):  # type: ignore[misc]
    def call(self, x: Any) -> Any:
        return tf.stop_gradient(x)


def saved_integers(folder: Path) -> Classifier:
    keras_model(layers.Rescaling(1 / 255), dtype="uint8").export(folder / "saved", verbose=False)
    return SavedModelClassifier(folder / "saved", bounds=(0, 255))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda _: torch_model(lambda x: x.detach()), "do not depend on the input"),
        (lambda _: KerasClassifier(keras_model(Stopped())), "do not depend on the input"),
        (lambda _: KerasClassifier(keras_model(layers.Discretization([0.5]))), "do not depend|no entry"),
        (lambda _: KerasClassifier(keras_model(layers.Rescaling(1 / 255), dtype="uint8")), "do not depend on the"),
        (saved_integers, "do not depend on the input"),
    ],
)
def test_gradients_that_do_not_exist_are_a_limit(make: Callable[[Path], Any], reason: str, tmp_path: Path) -> None:
    model = make(tmp_path)
    assert Capability.GRADIENTS not in model.capabilities
    with pytest.raises(UnsupportedError, match=f"the model has no gradients: .*({reason})"):
        model.loss_gradient(X, Y)
    assert model.logits(X).shape == (6, 3)


def test_gradients_that_exist_are_none() -> None:
    for model in (torch_model(lambda x: 50 * x), KerasClassifier(keras_model(layers.ReLU()))):
        assert Capability.GRADIENTS in model.capabilities
        assert bool(model.loss_gradient(X, Y).gradient.any())


@pytest.mark.parametrize("step", [lambda x: 0 * x, lambda x: (8 * x).round()])
def test_gradients_of_zero_are_gradients(step: Any) -> None:
    model = torch_model(step)
    assert Capability.GRADIENTS in model.capabilities
    assert not bool(model.loss_gradient(X, Y).gradient.any())


def test_a_box_much_wider_than_the_data_takes_no_gradients_away() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 3))
    model = TorchClassifier(module, task="tabular", bounds=((-1e5,) * 4, (1e5,) * 4), input_shape=(4,))
    assert Capability.GRADIENTS in model.capabilities
    assert bool(model.loss_gradient(torch.randn(6, 4), Y).gradient.flatten(1).any(dim=1).all())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_do_not_break_the_probe(value: float) -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        module[1].weight[0, 0] = value
    logits = TorchClassifier(module, input_shape=(1, 8, 8)).logits(X)
    assert not bool(logits.isfinite().all())


NORM = nn.BatchNorm2d(1, track_running_stats=False)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda x: F.dropout(x, 0.5, training=True), "two passes over one batch gave different logits"),
        (lambda x: x + x.mean(0), "the logits of a sample change with the other samples in its batch"),
        (lambda x: x / x.flatten().norm(), "the logits of a sample change with the other samples in its batch"),
        (NORM, "the logits of a sample change with the other samples in its batch"),
    ],
)
def test_models_that_are_not_functions_of_one_sample_are_a_limit(step: Any, reason: str) -> None:
    assert torch_model(step).limits[Capability.DETERMINISTIC] == reason


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_rounding_is_no_unsteadiness(dtype: torch.dtype) -> None:
    module = nn.Sequential(*(nn.Conv2d(c, 8, 3, padding=1) for c in (1, 8, 8)), nn.Flatten(), nn.Linear(512, 3))
    model = TorchClassifier(module.to(dtype), input_shape=(1, 8, 8))
    assert Capability.DETERMINISTIC in model.capabilities
    assert Capability.DETERMINISTIC in KerasClassifier(keras_model(layers.Conv2D(8, 3))).capabilities


class Writes(nn.Module):
    """Counts its runs, in place and by a new tensor, and sets its norm to training."""

    runs: Tensor
    again: Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("runs", torch.zeros(()))
        self.register_buffer("again", torch.ones(()))
        self.norm = nn.BatchNorm2d(1)
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        self.again = self.again + 1
        self.register_buffer("cache", x)
        self.norm.train()
        return self.head(self.norm(x * self.again).flatten(1)) * self.runs


@pytest.mark.parametrize("training", [True, False])
def test_modules_that_write_to_themselves_are_left_as_they_were(training: bool) -> None:
    module = Writes().train(training)
    before = {name: (id(value), value.clone()) for name, value in module.named_buffers()}
    model = TorchClassifier(module)
    expected = model.logits(X)
    for _ in range(2):
        result = model.loss_gradient(X, Y)
        model.activations(X, "norm")
        torch.testing.assert_close(result.logits, expected.detach())
    after = dict(module.named_buffers())
    assert after.keys() == before.keys()
    for name, (identity, value) in before.items():
        assert id(after[name]) == identity
        assert torch.equal(after[name], value)
    assert module.norm.training is training
    point = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model.logits(point), Y, reduction="sum"), point)
    torch.testing.assert_close(result.gradient, gradient)


def exported(folder: Path) -> Classifier:
    program = torch.export.export(nn.Sequential(nn.Flatten(), nn.Linear(784, 3)), (torch.rand(2, 1, 28, 28),))
    torch.export.save(program, folder / "model.pt2")
    return ExportedClassifier(folder / "model.pt2")


def unbuilt() -> Any:
    model = keras.Sequential([layers.Flatten(), layers.Dense(3)])
    model(tf.zeros((1, 28, 28, 1)))
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda _: TorchClassifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 3))),
            r"can run on, got \(\d, 1, 8, 8\): RuntimeError: mat1 and mat2 shapes cannot be multiplied",
        ),
        (lambda _: TorchClassifier(nn.Sequential(nn.BatchNorm1d(4))), r"got \(\d, 1, 8, 8\): ValueError: expected 2D"),
        (lambda _: KerasClassifier(unbuilt(), input_shape=(1, 8, 8)), r"got \(\d, 1, 8, 8\): .*(64|784)"),
        (exported, r"expected a batch of shape \(n, 1, 28, 28\), got \(6, 1, 8, 8\)"),
    ],
)
def test_a_batch_that_the_model_cannot_run_on_is_named_in_one_line(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(tmp_path).logits(X)
    assert str(caught.value).isprintable()


def test_half_precision_inputs_may_add_up_to_more_than_it_holds() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3)).half()
    x = torch.full((64, 3, 64, 64), 0.9, dtype=torch.float16)
    assert not x.sum().isfinite()
    assert TorchClassifier(module).logits(x).shape == (64, 3)
    x[0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match="expected finite inputs"):
        TorchClassifier(module).logits(x)
