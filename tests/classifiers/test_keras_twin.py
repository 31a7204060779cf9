"""A Keras model computed by torch gives the model's own outputs, layer by layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from xaibench.classifiers import KerasClassifier
from xaibench.errors import UnsupportedError

# Keras warns when a layer ends a mask, as it is meant to here.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
TOKENS = torch.tensor([[3, 1, 4, 0, 0, 0], [0, 0, 0, 0, 0, 0], [5, 0, 2, 6, 5, 3]])


def _text(*body: Any, mask: bool = True) -> KerasClassifier:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    embedding = layers.Embedding(9, 5, mask_zero=mask, embeddings_initializer="normal")
    head = layers.Dense(3, bias_initializer="normal")
    model = keras.Sequential([keras.Input((6,), dtype="int32"), embedding, *body, head])
    for weight in model.weights:
        weight.assign_add(0.3 * keras.random.normal(weight.shape, seed=1))
    return KerasClassifier(model, task="text")


def _missed(model: KerasClassifier, x: Tensor) -> float:
    program = model.export(x)
    return float((program.module()(x) - model.logits(x)).abs().max())


def test_texts() -> None:
    from keras import layers

    flat = layers.Flatten()
    for mask in (True, False):
        for body in (
            (layers.LSTM(4),),
            (layers.GRU(4),),
            (layers.Dropout(0.5), layers.LSTM(4, return_sequences=True), layers.GRU(3, use_bias=False)),
            (layers.Dense(4, activation="gelu"), layers.LSTM(4, use_bias=False, recurrent_activation="tanh")),
            (layers.LSTM(4, return_sequences=True), flat),
            (layers.LayerNormalization(), layers.GRU(4)),
            (layers.Conv1D(4, 3, padding="causal", dilation_rate=2), layers.LSTM(4)),
            (layers.Conv1D(4, 3, padding="same", strides=2), layers.MaxPooling1D(2), layers.GlobalAveragePooling1D()),
            (layers.Conv1D(4, 2, groups=1, activation="silu"), layers.GlobalMaxPooling1D()),
            (layers.AveragePooling1D(3, strides=1), layers.GlobalMaxPooling1D()),
        ):
            assert _missed(_text(*body, mask=mask), TOKENS) < 1e-5
    # The average of no words at all is no number, in Keras either.
    assert _missed(_text(layers.GlobalAveragePooling1D()), TOKENS[[0, 2]]) < 1e-5


def test_what_is_not_known_is_refused_by_name() -> None:
    from keras import layers

    for layer, message in (
        (layers.LSTM(4, go_backwards=True, name="back"), r"^layer 'back': expected go_backwards=False, got True"),
        (layers.GRU(4, reset_after=False, name="old"), r"^layer 'old': expected reset_after=True, got False"),
        (layers.GRU(4, activation="mish", name="odd"), r"^layer 'odd': no torch form of the activation 'mish'"),
        (layers.SimpleRNN(4, name="plain"), r"^layer 'plain': no torch form of SimpleRNN is known"),
        (layers.LayerNormalization(axis=1, name="norm"), r"^layer 'norm': expected layer norm of the last axis"),
        (
            layers.GlobalAveragePooling1D(keepdims=True, name="mean"),
            r"^layer 'mean': expected keepdims=False with a mask",
        ),
    ):
        model = _text(layer, layers.Flatten())
        with pytest.raises(UnsupportedError, match=message):
            model.export(TOKENS)
