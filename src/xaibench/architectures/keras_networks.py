"""Keras networks; images come channels last, as Keras users write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from xaibench.architectures.base import architectures

__all__ = ["KerasAutoencoder", "KerasCNN", "KerasLSTM", "KerasMLP", "KerasTextCNN"]


def _image_input(shape: tuple[int, ...]) -> Any:
    import keras

    channels, height, width = shape
    return keras.Input((height, width, channels), name="image")


@architectures.register("keras_mlp")
@dataclass(frozen=True, kw_only=True)
class KerasMLP:
    """Flatten, dense layers with ReLU and dropout, softmax."""

    framework: ClassVar[Literal["keras"]] = "keras"
    input_shape: tuple[int, ...]
    classes: int
    hidden: tuple[int, ...] = (512,)
    dropout: float = 0.5

    def build(self) -> Any:
        """Probabilities from (n, height, width, channels)."""
        from keras import Sequential, layers

        body = []
        for index, units in enumerate(self.hidden, start=1):
            body.append(layers.Dense(units, activation="relu", name=f"dense{index}"))
            body.append(layers.Dropout(self.dropout, name=f"dropout{index}"))
        head = layers.Dense(self.classes, activation="softmax", name="head")
        return Sequential([_image_input(self.input_shape), layers.Flatten(name="flatten"), *body, head])


@architectures.register("keras_cnn")
@dataclass(frozen=True, kw_only=True)
class KerasCNN:
    """3x3 convolutions with max pooling between them, a dense layer, softmax."""

    framework: ClassVar[Literal["keras"]] = "keras"
    input_shape: tuple[int, ...]
    classes: int
    widths: tuple[int, ...] = (32, 64, 64)
    hidden: int = 64

    def build(self) -> Any:
        """Probabilities from (n, height, width, channels)."""
        from keras import Sequential, layers

        body: list[Any] = []
        for index, width in enumerate(self.widths, start=1):
            if index > 1:
                body.append(layers.MaxPooling2D(name=f"pool{index - 1}"))
            body.append(layers.Conv2D(width, 3, activation="relu", name=f"conv{index}"))
        return Sequential(
            [
                _image_input(self.input_shape),
                *body,
                layers.Flatten(name="flatten"),
                layers.Dense(self.hidden, activation="relu", name="dense"),
                layers.Dense(self.classes, activation="softmax", name="head"),
            ]
        )


@architectures.register("keras_autoencoder")
@dataclass(frozen=True, kw_only=True)
class KerasAutoencoder:
    """A dense autoencoder whose code a linear head classifies: outputs are class probabilities and reconstruction."""

    framework: ClassVar[Literal["keras"]] = "keras"
    input_shape: tuple[int, ...]
    classes: int
    hidden: tuple[int, ...] = (512, 128)
    code: int = 32

    def build(self) -> Any:
        """Probabilities (n, classes) and reconstruction (n, height, width, channels) in [0, 1]."""
        from keras import Model, layers

        image = _image_input(self.input_shape)
        x = layers.Flatten(name="flatten")(image)
        for index, units in enumerate(self.hidden, start=1):
            x = layers.Dense(units, activation="relu", name=f"encoder{index}")(x)
        code = layers.Dense(self.code, name="code")(x)
        x = code
        for index, units in enumerate(reversed(self.hidden), start=1):
            x = layers.Dense(units, activation="relu", name=f"decoder{index}")(x)
        shape = image.shape[1:]
        x = layers.Dense(shape[0] * shape[1] * shape[2], activation="sigmoid", name="pixels")(x)
        reconstruction = layers.Reshape(shape, name="reconstruction")(x)
        probabilities = layers.Dense(self.classes, activation="softmax", name="head")(code)
        return Model(image, [probabilities, reconstruction], name="autoencoder")


def _binary_or_softmax(classes: int) -> Any:
    from keras import layers

    if classes == 2:
        return layers.Dense(1, activation="sigmoid", name="head")
    return layers.Dense(classes, activation="softmax", name="head")


@architectures.register("keras_text_cnn")
@dataclass(frozen=True, kw_only=True)
class KerasTextCNN:
    """Embedding, two one-dimensional convolutions with pooling between, global average, sigmoid.

    After Kim, *Convolutional neural networks for sentence classification* (EMNLP 2014).
    """

    framework: ClassVar[Literal["keras"]] = "keras"
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int = 10_000
    dim: int = 64
    width: int = 32
    kernel: int = 7
    pool: int = 4
    dropout: float = 0.0

    def build(self) -> Any:
        """Probabilities from token ids (n, length): one column for two classes."""
        import keras
        from keras import Sequential, layers

        return Sequential(
            [
                keras.Input(self.input_shape, dtype="int32", name="tokens"),
                layers.Embedding(self.vocabulary, self.dim, name="embedding"),
                layers.Dropout(self.dropout, name="dropout1"),
                layers.Conv1D(self.width, self.kernel, activation="relu", name="conv1"),
                layers.MaxPooling1D(self.pool, name="pool"),
                layers.Conv1D(self.width, self.kernel, activation="relu", name="conv2"),
                layers.GlobalAveragePooling1D(name="average"),
                layers.Dropout(self.dropout, name="dropout2"),
                _binary_or_softmax(self.classes),
            ]
        )


@architectures.register("keras_lstm")
@dataclass(frozen=True, kw_only=True)
class KerasLSTM:
    """Embedding, a long short-term memory (Hochreiter & Schmidhuber, 1997) that skips padding, sigmoid."""

    framework: ClassVar[Literal["keras"]] = "keras"
    input_shape: tuple[int, ...]
    classes: int
    vocabulary: int = 10_000
    dim: int = 64
    hidden: int = 64
    dropout: float = 0.3

    def build(self) -> Any:
        """Probabilities from token ids (n, length): one column for two classes."""
        import keras
        from keras import Sequential, layers

        return Sequential(
            [
                keras.Input(self.input_shape, dtype="int32", name="tokens"),
                layers.Embedding(self.vocabulary, self.dim, mask_zero=True, name="embedding"),
                layers.Dropout(self.dropout, name="dropout1"),
                layers.LSTM(self.hidden, name="lstm"),
                layers.Dropout(self.dropout, name="dropout2"),
                _binary_or_softmax(self.classes),
            ]
        )
