"""Keras models of every kind behind the seam, and that they come out of it as they went in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import Tensor
from twins import state_of, twins

from xaibench import InputError, KerasClassifier, UnsupportedError
from xaibench.classifiers.runtime import tensorflow
from xaibench.types import Capability

tf = tensorflow()

IMAGES = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
NATIVE = IMAGES.permute(0, 2, 3, 1).numpy()


@pytest.fixture(autouse=True)
def _weights() -> None:
    keras.utils.set_random_seed(0)


def functional(head: Any, *, name: str | None = None) -> Any:
    image = keras.Input((5, 4, 2))
    x = layers.Conv2D(3, 2, activation="relu", name="conv")(image)
    return keras.Model(image, head(layers.Flatten()(x)), name=name)


class Subclassed(keras.Model):
    def __init__(self, end: Callable[[Any], Any], units: int = 3) -> None:
        super().__init__()
        self.conv = layers.Conv2D(3, 2, activation="relu", name="conv")
        self.flat = layers.Flatten()
        self.head = layers.Dense(units, name="head")
        self.end = end

    def call(self, x: Any) -> Any:
        return self.end(self.head(self.flat(self.conv(x))))


def unbuilt() -> Any:
    return keras.Sequential([layers.Conv2D(3, 2, name="conv"), layers.Flatten(), layers.Dense(3, activation="softmax")])


def nested() -> Any:
    stem = keras.Sequential([keras.Input((5, 4, 2)), layers.Conv2D(3, 2, name="conv")], name="stem")
    image = keras.Input((5, 4, 2))
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(stem(image))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: functional(layers.Dense(3, activation="softmax")),
        lambda: functional(lambda x: layers.Softmax()(layers.Dense(3)(x))),
        lambda: functional(lambda x: layers.Activation("softmax")(layers.Dense(3)(x))),
        lambda: Subclassed(tf.nn.softmax),
        lambda: Subclassed(keras.ops.softmax),
        unbuilt,
        nested,
    ],
)
def test_logits_are_recovered_where_the_model_ends_in_softmax(make: Callable[[], Any]) -> None:
    network = make()
    model = KerasClassifier(network)
    logits = model.logits(IMAGES)
    expected = network(NATIVE, training=False).numpy()
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=1e-6)
    assert not torch.allclose(logits.logsumexp(1), torch.zeros(3), atol=1e-3), "log-probabilities are not logits"
    assert Capability.LOGITS in model.capabilities


@pytest.mark.parametrize("end", [tf.sigmoid, lambda z: tf.squeeze(tf.sigmoid(z), -1), lambda z: z, lambda z: z[:, 0]])
def test_one_unit_becomes_two_logits(end: Callable[[Any], Any]) -> None:
    network = Subclassed(end, units=1)
    network(NATIVE)
    network.head.bias.assign([3.0])
    z = torch.from_numpy(network.head(network.flat(network.conv(NATIVE))).numpy())
    torch.testing.assert_close(KerasClassifier(network).logits(IMAGES), torch.cat([-z / 2, z / 2], dim=1))


def test_hidden_softmax_leaves_log_probabilities_and_says_so() -> None:
    network = Subclassed(lambda z: tf.exp(z) / tf.reduce_sum(tf.exp(z), 1, keepdims=True))
    model = KerasClassifier(network)
    np.testing.assert_allclose(model.logits(IMAGES).exp().numpy(), network(NATIVE).numpy(), atol=1e-6)
    assert "saturate" in model.limits[Capability.LOGITS]


def test_hidden_sigmoid_must_be_declared() -> None:
    network = Subclassed(lambda z: 1 / (1 + tf.exp(-z)), units=1)
    with pytest.raises(InputError, match="expected `outputs` as 'logits' or 'probabilities'"):
        KerasClassifier(network).logits(IMAGES)
    logits = KerasClassifier(network, outputs="probabilities").logits(IMAGES)
    np.testing.assert_allclose(logits.softmax(1)[:, 1:].numpy(), network(NATIVE).numpy(), atol=1e-6)


def test_first_of_several_outputs_classifies() -> None:
    image = keras.Input((5, 4, 2))
    code = layers.Dense(6)(layers.Flatten()(image))
    picture = layers.Reshape((5, 4, 2))(layers.Dense(40, activation="sigmoid")(code))
    network = keras.Model(image, [layers.Dense(3, activation="softmax")(code), picture])
    model = KerasClassifier(network)
    np.testing.assert_allclose(model.logits(IMAGES).softmax(1).numpy(), network(NATIVE)[0].numpy(), atol=1e-6)
    named = KerasClassifier(keras.Model(image, {"aux": code, "logits": layers.Dense(4)(code)}))
    assert named.num_classes == 4


@pytest.mark.parametrize(
    ("shape", "first", "native"),
    [
        ((5, 4, 2), layers.Conv2D(2, 2), lambda x: x.permute(0, 2, 3, 1)),
        ((2, 5, 4), layers.Flatten(data_format="channels_first"), lambda x: x),
        ((5, 4), layers.Flatten(), lambda x: x[:, 0]),
        ((20,), layers.Dense(4), lambda x: x[:, 0].flatten(1)),
    ],
)
def test_layout_is_found_from_the_model(shape: tuple[int, ...], first: Any, native: Callable[[Tensor], Tensor]) -> None:
    x = IMAGES if len(shape) == 3 else IMAGES[:, :1]
    network = keras.Sequential([keras.Input(shape), first, layers.Flatten(), layers.Dense(3)])
    model = KerasClassifier(network, mean=0.25, std=0.5, input_shape=tuple(x.shape[1:]))
    expected = network(((native(x) - 0.25) / 0.5).numpy()).numpy()
    np.testing.assert_allclose(model.logits(x).numpy(), expected, atol=1e-6)
    gradient = model.loss_gradient(x, torch.zeros(3, dtype=torch.int64)).gradient
    point = x.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model.logits(point), torch.zeros(3, dtype=torch.int64), reduction="sum")
    torch.testing.assert_close(gradient, torch.autograd.grad(loss, point)[0])
    assert gradient.is_contiguous()
    if len(shape) != 1:
        assert KerasClassifier(network).input_shape == tuple(x.shape[1:])


@pytest.mark.parametrize(
    "turn", [layers.Permute((2, 3, 1)), lambda x: keras.ops.transpose(x, (0, 2, 3, 1)), layers.Flatten()]
)
def test_layers_behind_a_turn_of_the_axes_do_not_state_the_layout(turn: Any) -> None:
    image = keras.Input((3, 8, 7))
    turned = turn(image)
    features = layers.Flatten()(layers.Conv2D(2, 2)(turned)) if len(turned.shape) == 4 else turned
    network = keras.Model(image, layers.Dense(3)(features))
    model, x = KerasClassifier(network), torch.rand(4, 3, 8, 7)
    assert model.input_shape == (3, 8, 7)
    np.testing.assert_allclose(model.logits(x).numpy(), network(x.numpy()).numpy(), atol=1e-6)


@pytest.mark.parametrize("make", [unbuilt, nested, lambda: Subclassed(tf.nn.softmax)])
def test_layers_are_reached_in_every_kind_of_model(make: Callable[[], Any]) -> None:
    network = make()
    model = KerasClassifier(network)
    model.logits(IMAGES)
    name = next(name for name in model.layers if name.endswith("conv"))
    conv = next(layer for layer in network._flatten_layers() if layer.name == "conv")
    activations = model.activations(IMAGES, name)
    np.testing.assert_allclose(activations.permute(0, 2, 3, 1).numpy(), conv(NATIVE).numpy(), atol=1e-6)
    torch.testing.assert_close(model.logits_from(IMAGES, name, activations), model.logits(IMAGES))


def test_model_is_left_as_it_was() -> None:
    network = keras.Sequential(
        [
            keras.Input((5, 4, 2)),
            layers.RandomFlip(),
            layers.Conv2D(3, 2, activity_regularizer="l2", name="conv"),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    network(NATIVE)
    model = KerasClassifier(network)
    before, digest = state_of(network), model.digest
    y = torch.zeros(3, dtype=torch.int64)
    model.loss_gradient(IMAGES, y, "dlr")
    model.activation_gradient(IMAGES, "conv", y)
    activations = model.activations(IMAGES, "conv")
    model.logits_from(IMAGES, "conv", activations)
    assert Capability.DETERMINISTIC in model.capabilities, "dropout and augmentation are off"
    with pytest.raises(InputError, match="expected activations of layer 'conv'"):
        model.logits_from(IMAGES, "conv", activations[:, :1])
    with pytest.raises(ZeroDivisionError):
        model.loss_gradient(IMAGES, y, lambda z, y: z[:, 0] * (1 // 0))
    assert state_of(network) == before
    assert model.digest == digest
    network.get_layer("conv").bias.assign_add(np.ones(3))
    assert model.digest != digest


def test_model_is_left_as_it_was_after_an_error_inside_a_tap() -> None:
    shared = layers.Dense(20)
    image = keras.Input((5, 4, 2))
    x = shared(shared(layers.Dense(20, name="wide")(layers.Flatten()(image))))
    network = keras.Model(image, layers.Dense(3)(x))
    model = KerasClassifier(network)
    model.logits(IMAGES)
    before = state_of(network)
    with pytest.raises(UnsupportedError, match="runs 2 times in one pass: expected once"):
        model.activations(IMAGES, shared.name)
    assert state_of(network) == before


def test_new_batch_sizes_are_not_traced_again() -> None:
    traces = []

    class Counting(layers.Layer):
        def call(self, x: Any) -> Any:
            traces.append(x.shape)
            return x

    network = keras.Sequential([keras.Input((5, 4, 2)), Counting(), layers.Flatten(), layers.Dense(3)])
    model = KerasClassifier(network)
    x = torch.rand(40, 2, 5, 4)
    whole = model.loss_gradient(x, torch.zeros(40, dtype=torch.int64))
    model.loss_gradient(x[:3], torch.zeros(3, dtype=torch.int64))
    known = len(traces)
    for n in range(1, 40, 3):
        part = model.loss_gradient(x[:n], torch.zeros(n, dtype=torch.int64))
        torch.testing.assert_close(part.gradient, whole.gradient[:n], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(model.logits(x[:n]), whole.logits[:n], rtol=1e-5, atol=1e-6)
    assert len(traces) - known <= 2


def test_user_losses_are_fused_too() -> None:
    pair = twins("cnn")

    def loss(z: Tensor, y: Tensor) -> Tensor:
        return (z.sigmoid() * torch.arange(z.shape[1])).sum(1) + y

    for mine, other in zip(
        pair.torch.loss_gradient(pair.x, pair.y, loss), pair.keras.loss_gradient(pair.x, pair.y, loss), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


def test_attention_layers_of_keras_are_recorded_in_order_of_use() -> None:
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, name="words")(tokens)
    shared = layers.MultiHeadAttention(2, 3, name="mix")
    x = shared(x, shared(x, x))
    x = layers.Attention(name="plain")([x, x])
    network = keras.Model(tokens, layers.Dense(3)(layers.GlobalAveragePooling1D()(x)))
    weights = KerasClassifier(network, task="text").attention(torch.randint(0, 9, (2, 6)))
    assert [(name, tuple(value.shape)) for name, value in weights.items()] == [
        ("mix", (2, 2, 6, 6)),
        ("mix#2", (2, 2, 6, 6)),
        ("plain", (2, 1, 6, 6)),
    ]
    for value in weights.values():
        torch.testing.assert_close(value.sum(-1), torch.ones(value.shape[:-1]))


def test_recurrent_layers_respect_masks() -> None:
    network = keras.Sequential(
        [
            keras.Input((7,), dtype="int32"),
            layers.Embedding(9, 4, mask_zero=True, name="words"),
            layers.LSTM(5, name="lstm"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model = KerasClassifier(network, task="text")
    x = torch.tensor([[3, 4, 5, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6, 7]])
    gradient = model.loss_gradient(x, torch.tensor([0, 1])).gradient
    assert (gradient[0, 3:] == 0).all()
    assert (gradient[1] != 0).any(dim=1).all()
    torch.testing.assert_close(model.logits(x, embeddings=model.embed(x)), model.logits(x))
    assert model.activations(x, "lstm").shape == (2, 5)


def test_what_cannot_be_wrapped_is_named() -> None:
    two = [keras.Input((2,)), keras.Input((2,))]
    with pytest.raises(UnsupportedError, match="the model takes 2 inputs: expected one"):
        KerasClassifier(keras.Model(two, layers.Dense(2)(layers.Add()(two))))
    rows = keras.Input((5, 4), batch_size=1)
    stateful = keras.Model(rows, layers.LSTM(3, stateful=True)(rows))
    with pytest.raises(UnsupportedError, match="stateful"):
        KerasClassifier(stateful)
    with pytest.raises(InputError, match=r"expected a keras\.Model, got int"):
        KerasClassifier(3)
    model = KerasClassifier(functional(layers.Dense(3)))
    with pytest.raises(UnsupportedError, match="expected cpu, got cuda"):
        model.to("cuda")
    with pytest.raises(InputError, match=r"expected a batch of shape \(n, 2, 5, 4\), got \(3, 5, 4, 2\)"):
        model.logits(IMAGES.permute(0, 2, 3, 1))
    with pytest.raises(UnsupportedError, match="the model has no attention"):
        model.attention(IMAGES)


def test_errors_of_tensorflow_are_one_line() -> None:
    class Picky(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.head = layers.Dense(3)

        def call(self, x: Any) -> Any:
            return self.head(tf.reshape(x, (-1, 41)))

    with pytest.raises(InputError, match="expected a batch that the model can run on") as caught:
        KerasClassifier(Picky()).logits(IMAGES)
    assert "\n" not in str(caught.value)
