"""The same networks with the same weights in torch and in Keras, as classifiers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xaibench.classifiers import KerasClassifier, Options, TorchClassifier
from xaibench.classifiers.runtime import tensorflow

CLASSES = 4


@dataclass(frozen=True)
class Twins:
    torch: TorchClassifier
    keras: KerasClassifier
    x: Tensor
    layers: tuple[tuple[str, str], ...]
    """Pairs of names of one layer: in torch, in Keras."""

    @property
    def y(self) -> Tensor:
        return torch.arange(len(self.x)) % self.torch.num_classes


def _array(x: Tensor) -> np.ndarray:
    return x.detach().numpy()


def cnn_twins() -> Twins:
    """Convolutions, batch norm with moved statistics, pooling, dropout, softmax, and a normalisation per channel."""
    from keras import Input, Sequential, layers

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 5, 2),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(5 * 3 * 2, CLASSES),
    )
    norm: Any = module[1]
    norm.running_mean.uniform_(-0.2, 0.2)
    norm.running_var.uniform_(0.5, 2.0)
    model = Sequential(
        [
            Input((10, 8, 3)),
            layers.Conv2D(6, 3, name="conv1"),
            layers.BatchNormalization(epsilon=norm.eps, name="norm"),
            layers.ReLU(name="relu"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(5, 2, activation="relu", name="conv2"),
            layers.Dropout(0.5),
            layers.Permute((3, 1, 2)),
            layers.Flatten(),
            layers.Dense(CLASSES, activation="softmax", name="head"),
        ]
    )
    for name, part in (("conv1", module[0]), ("conv2", module[4])):
        model.get_layer(name).set_weights([_array(part.weight).transpose(2, 3, 1, 0), _array(part.bias)])
    model.get_layer("norm").set_weights(
        [_array(value) for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    )
    model.get_layer("head").set_weights([_array(module[8].weight).T, _array(module[8].bias)])
    options = Options(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    return Twins(
        torch=TorchClassifier(module.train(), input_shape=(3, 10, 8), **options),
        keras=KerasClassifier(model, **options),
        x=torch.rand(5, 3, 10, 8),
        layers=(("0", "conv1"), ("1", "norm"), ("2", "relu"), ("3", "pool"), ("5", "conv2")),
    )


def mlp_twins() -> Twins:
    """A table through a dense net that ends in one sigmoid unit."""
    from keras import Sequential, layers

    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    model = Sequential(
        [layers.Dense(8, activation="tanh", name="hidden"), layers.Dense(1, activation="sigmoid", name="head")]
    )
    model.build((None, 6))
    for name, part in (("hidden", module[0]), ("head", module[2])):
        model.get_layer(name).set_weights([_array(part.weight).T, _array(part.bias)])
    options = Options(task="tabular", bounds=(-3, 3), mean=(1.0,) * 6, std=2.0)
    return Twins(
        torch=TorchClassifier(module, **options),
        keras=KerasClassifier(model, **options),
        x=torch.randn(7, 6),
        layers=(("1", "hidden"),),
    )


class _Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(6, 2, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x + self.mix(x, x, x, need_weights=False)[0])
        return self.head(y.mean(1))


def attention_twins() -> Twins:
    """Rows of an image as tokens of one attention layer."""
    from keras import Input, Model, layers

    class RowsFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = _Attentive()

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x.squeeze(1))

    torch.manual_seed(2)
    module = RowsFirst()
    body = module.body
    nn.init.normal_(body.mix.in_proj_bias, std=0.3)
    rows = Input((5, 6))
    mix = layers.MultiHeadAttention(2, 3, name="mix")
    normed = layers.LayerNormalization(epsilon=body.norm.eps, name="norm")(layers.Add()([rows, mix(rows, rows)]))
    model = Model(rows, layers.Dense(CLASSES, name="head")(layers.GlobalAveragePooling1D()(normed)))
    weights: list[np.ndarray] = []
    for weight, bias in zip(body.mix.in_proj_weight.chunk(3), body.mix.in_proj_bias.chunk(3), strict=True):
        weights += [_array(weight).T.reshape(6, 2, 3), _array(bias).reshape(2, 3)]
    # Keras lists query, key, value as torch does.
    mix.set_weights([*weights, _array(body.mix.out_proj.weight).T.reshape(2, 3, 6), _array(body.mix.out_proj.bias)])
    model.get_layer("head").set_weights([_array(body.head.weight).T, _array(body.head.bias)])
    return Twins(
        torch=TorchClassifier(module, input_shape=(1, 5, 6)),
        keras=KerasClassifier(model),
        x=torch.rand(3, 1, 5, 6),
        layers=(("body.mix", "mix"), ("body.norm", "norm")),
    )


class _MaskedMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Embedding(9, 4)
        self.words = nn.Embedding(30, 4, padding_idx=0)
        self.hidden = nn.Linear(4, 5)
        self.head = nn.Linear(5, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        places = self.positions(torch.arange(tokens.shape[1]).expand(tokens.shape))
        x = torch.tanh(self.hidden(self.words(tokens) + 0 * places))
        keep = (tokens != 0).unsqueeze(-1)
        return self.head((x * keep).sum(1) / keep.sum(1))


def text_twins() -> Twins:
    """Embedding with padding masked, mean over the words, one unit."""
    from keras import Input, Sequential, layers

    torch.manual_seed(3)
    module = _MaskedMean()
    model = Sequential(
        [
            Input((9,), dtype="int32"),
            layers.Embedding(30, 4, mask_zero=True, name="words"),
            layers.Dense(5, activation="tanh", name="hidden"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, activation="sigmoid", name="head"),
        ]
    )
    model.get_layer("words").set_weights([_array(module.words.weight)])
    for name, part in (("hidden", module.hidden), ("head", module.head)):
        model.get_layer(name).set_weights([_array(part.weight).T, _array(part.bias)])
    x = torch.randint(1, 30, (4, 9))
    x[1:, 6:] = 0
    return Twins(
        torch=TorchClassifier(module, task="text", input_shape=(9,)),
        keras=KerasClassifier(model, task="text"),
        x=x,
        layers=(("words", "words"),),
    )


TWINS: dict[str, Callable[[], Twins]] = {
    "cnn": cnn_twins,
    "mlp": mlp_twins,
    "attention": attention_twins,
    "text": text_twins,
}
_made: dict[str, Twins] = {}


def twins(name: str) -> Twins:
    """Twins by name, made once."""
    tensorflow()
    if name not in _made:
        _made[name] = TWINS[name]()
    return _made[name]


def state_of(model: Any) -> list[Any]:
    """Everything about a Keras model that an analysis might leave changed."""
    layers = model._flatten_layers()
    return [
        model.get_config() if hasattr(model, "inputs") and model.inputs else None,
        [
            (id(layer), sorted(vars(layer)), layer.trainable, [float(loss) for loss in layer._losses])
            for layer in layers
        ],
        [variable.numpy().tobytes() for variable in model.variables],
    ]
