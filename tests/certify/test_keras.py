"""Keras models have the bounds of the torch networks that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import inputs_for, keras_cnn

from xaibench.certify import margin_bounds, prove
from xaibench.classifiers import KerasClassifier
from xaibench.errors import UnsupportedError
from xaibench.rng import SampleRng
from xaibench.threats import L2, Linf


def residual() -> Any:
    """Nested and branched, with strides, padding, statistics of batches, and every layer that is merged or moved."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    image = keras.Input((7, 8, 2))
    x = layers.Rescaling(2.0, offset=-1.0)(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(name="norm")(x)
    inner = keras.Sequential([keras.Input((4, 4, 4)), layers.Conv2D(4, (1, 3), padding="same"), layers.LeakyReLU(0.1)])
    x = layers.Add()([layers.ReLU(max_value=1.5)(inner(x)), x])
    pooled = layers.Flatten()(layers.Permute((3, 1, 2))(layers.MaxPooling2D(2)(x)))
    average = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(2, strides=1)(x))
    x = layers.Reshape((20,))(layers.Concatenate()([pooled, average]))
    x = layers.Activation("tanh")(layers.Dense(6, use_bias=False)(layers.Dropout(0.5)(x)))
    model = keras.Model(image, layers.Dense(1, activation="sigmoid")(x))
    model.get_layer("norm").moving_mean.assign([0.1, -0.2, 0.3, 0.0])
    model.get_layer("norm").moving_variance.assign([0.5, 1.0, 2.0, 0.2])
    return model


def test_bounds_hold_on_every_layer_that_is_known() -> None:
    model = KerasClassifier(residual(), mean=(0.4, 0.6), std=0.5)
    digest, x = model.digest, torch.rand(4, 2, 7, 8, generator=torch.Generator().manual_seed(0))
    y = model.predict(x)
    for threat in (Linf(0.02), L2(0.1)):
        margins = margin_bounds(model, x, y, threat)
        several = x.repeat(50, 1, 1, 1)
        rng = SampleRng(torch.arange(len(several)))
        for points in (
            threat.sample(rng, several, model.bounds),
            threat.project(several + 10 * rng.normal((2, 7, 8)).sign(), several, model.bounds),
        ):
            logits = model.logits(points).double().view(50, 4, 2)
            least = (logits.gather(2, y.expand(50, -1)[..., None]) - logits).amin(dim=0)
            assert bool((margins <= least).all())
            assert bool((least - margins < 1.0).all())
    assert model.digest == digest


def test_softmax_is_cut_and_small_balls_are_proved() -> None:
    model = keras_cnn()
    x = inputs_for(model, 4)
    assert bool(prove(model, x, model.predict(x), Linf(1e-4)).all())
    assert not bool(prove(model, x, model.predict(x), Linf(0.5)).any())


def test_layers_without_a_torch_form_are_named() -> None:
    import keras
    from keras import layers

    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            return x * 2

    for layer, message in (
        (layers.ELU(name="bent"), "^layer 'bent': no torch form of ELU is known$"),
        (layers.Dense(4, activation="mish", name="smooth"), "^layer 'smooth': no torch form of the activation 'mish'"),
        (Own(name="mine"), "^layer 'mine': no torch form of Own is known$"),
    ):
        model = KerasClassifier(keras.Sequential([keras.Input((4,)), layer, layers.Dense(3)]), task="tabular")
        with pytest.raises(UnsupportedError, match=message):
            prove(model, torch.rand(2, 4), torch.tensor([0, 1]), Linf(0.1))
