"""Untrained classifiers of every kind, small enough for property tests, and inputs for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.types import Bounds, Classifier

UNIT = Bounds(0.0, 1.0)
TABLE = Bounds((0.0, -5.0, 100.0, 0.0, 1.0), (1.0, 5.0, 900.0, 0.01, 3.0))


def linear(weight: Tensor, bias: Tensor, bounds: Bounds = UNIT) -> Classifier:
    """Logits ``weight @ x + bias`` of features x."""
    module = nn.Linear(weight.shape[1], weight.shape[0]).to(weight.dtype)
    with torch.no_grad():
        module.weight.copy_(weight)
        module.bias.copy_(bias)
    return TorchClassifier(module, task="tabular", bounds=bounds, input_shape=(weight.shape[1],))


def torch_cnn() -> Classifier:
    torch.manual_seed(3)
    layers = (nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 24), nn.ReLU())
    return TorchClassifier(
        nn.Sequential(*layers, nn.Dropout(0.5), nn.Linear(24, 4)), input_shape=(2, 8, 8), mean=0.4, std=0.2
    )


def keras_cnn() -> Classifier:
    import keras

    from xaibench.classifiers import KerasClassifier

    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 2)),
            layers.Conv2D(6, 3, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(4, activation="softmax"),
        ]
    )
    return KerasClassifier(model)


def table_mlp() -> Classifier:
    torch.manual_seed(4)
    low, high = (torch.tensor(limit) for limit in (TABLE.lower, TABLE.upper))
    module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
    return TorchClassifier(
        module,
        task="tabular",
        bounds=TABLE,
        input_shape=(5,),
        mean=((low + high) / 2).tolist(),
        std=((high - low) / 4).tolist(),
    )


def token_net() -> Classifier:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(30, 6, padding_idx=0)
            self.hidden = nn.Linear(6, 16)
            self.head = nn.Linear(16, 3)

        def forward(self, tokens: Tensor) -> Any:
            return self.head(torch.tanh(self.hidden(self.embedding(tokens))).mean(dim=1))

    torch.manual_seed(5)
    return TorchClassifier(Net(), task="text", input_shape=(7,))


def attentive_image_net() -> Classifier:
    from xaibench.architectures import architectures

    torch.manual_seed(7)
    network: Any = architectures.create("vit:input_shape=[2, 8, 8],classes=4,patch=4,dim=8,depth=2,heads=2")
    return TorchClassifier(_lively(network.build()), input_shape=(2, 8, 8))


def attentive_token_net() -> Classifier:
    from xaibench.architectures import architectures

    torch.manual_seed(8)
    network: Any = architectures.create(
        "text_transformer:input_shape=[7],classes=3,vocabulary=30,dim=8,depth=2,heads=2"
    )
    return TorchClassifier(_lively(network.build()), task="text", input_shape=(7,))


def _lively(module: nn.Module) -> nn.Module:
    """A module whose small initial weights are made larger, so that attention is far from uniform."""
    for value in module.parameters():
        if value.ndim > 1:
            torch.nn.init.normal_(value, std=0.5)
    return module


def keras_attentive_token_net() -> Classifier:
    import keras

    from xaibench.classifiers import KerasClassifier

    keras.utils.set_random_seed(9)
    layers = keras.layers
    tokens = layers.Input((7,), dtype="int32")
    words = layers.Embedding(30, 6, embeddings_initializer="orthogonal")(tokens)
    for _ in range(2):
        words = layers.Add()([words, layers.MultiHeadAttention(2, 4)(words, words)])
    mean = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(words))
    return KerasClassifier(keras.Model(tokens, layers.Dense(3, activation="softmax")(mean)), task="text")


def keras_token_net() -> Classifier:
    import keras

    from xaibench.classifiers import KerasClassifier

    keras.utils.set_random_seed(6)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((7,), dtype="int32"),
            layers.Embedding(30, 6),
            layers.Conv1D(8, 3, activation="tanh"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    return KerasClassifier(model, task="text")


def forest() -> Classifier:
    """Trees that know only whole steps, of the same table as `table_mlp`."""
    from sklearn.ensemble import RandomForestClassifier

    from xaibench.classifiers import SklearnClassifier

    x = inputs_for(table_mlp(), 200, seed=1).double()
    unit = (x - x.mean(dim=0)) / x.std(dim=0)
    y = (unit[:, 0] * unit[:, 1] > 0).long() + (unit[:, 2:].sum(dim=1) > 1).long()
    trees = RandomForestClassifier(20, max_depth=4, min_samples_leaf=5, random_state=0)
    return SklearnClassifier(trees.fit(x.numpy(), y.numpy()), bounds=TABLE)


def inputs_for(model: Classifier, n: int, seed: int = 0) -> Tensor:
    """n inputs that fill the box, or random tokens."""
    generator = torch.Generator().manual_seed(seed)
    if model.task == "text":
        return torch.randint(1, 30, (n, 7), generator=generator)
    assert model.input_shape is not None
    low, high = model.bounds.tensors(torch.zeros(()))
    return low + (high - low) * torch.rand(n, *map(int, model.input_shape), generator=generator)  # type: ignore[arg-type]
