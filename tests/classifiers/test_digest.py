"""The digest sees all that is told of a computation, and nothing of the process that it is taken in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xaibench import KerasClassifier, TorchClassifier
from xaibench.classifiers import ExportedClassifier, SavedModelClassifier
from xaibench.classifiers.runtime import tensorflow

SCRIPT = """
import sys
import keras
from xaibench.classifiers import KerasClassifier, SavedModelClassifier
for _ in range(3):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Softmax()])
print(KerasClassifier(sys.argv[1]).digest, SavedModelClassifier(sys.argv[2]).digest)
"""


def weighted(module: nn.Module) -> nn.Module:
    """The module with weights that depend on their shapes alone."""
    for value in module.parameters():
        nn.init.constant_(value, 0.1)
    return module


def torch_digest(module: nn.Module, **options: Any) -> str:
    return TorchClassifier(weighted(module), task="tabular", input_shape=(4,), **options).digest


def sequential(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), *parts, nn.Linear(4, 3))


class Attentive(nn.Module):
    def __init__(self, heads: int, activation: Callable[..., Any] = torch.relu) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, heads)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0])


def test_torch_modules_with_equal_weights_and_other_layers_differ() -> None:
    makers: list[Callable[[], nn.Module]] = [
        lambda: sequential(nn.ReLU()),
        lambda: sequential(nn.Tanh()),
        lambda: sequential(nn.LeakyReLU(0.1)),
        lambda: sequential(nn.LeakyReLU(0.2)),
        sequential,
        lambda: Attentive(1),
        lambda: Attentive(2),
        lambda: Attentive(2, torch.tanh),
    ]
    digests = [torch_digest(make()) for make in makers]
    assert len(set(digests)) == len(digests)
    assert digests == [torch_digest(make()) for make in makers]


def test_what_is_said_of_a_model_counts() -> None:
    said: list[dict[str, Any]] = [{}, {"bounds": (0, 2)}, {"outputs": "logits"}, {"mean": 1.0}, {"std": 2.0}]
    assert len({torch_digest(sequential(), **options) for options in said}) == len(said)


def test_tokenizers_count() -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    def digest(words: str) -> str:
        tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words.split())}, "?"))
        module = weighted(nn.Sequential(nn.Embedding(4, 2), nn.Flatten(), nn.Linear(6, 2)))
        return TorchClassifier(module, task="text", input_shape=(3,), tokenizer=tokenizer).digest

    assert digest("? a b") == digest("? a b") != digest("? b a")


def test_a_model_that_is_not_built_yet_has_the_digest_that_it_keeps() -> None:
    tensorflow()
    import keras

    model = KerasClassifier(keras.Sequential([keras.layers.Dense(3)]), task="tabular", input_shape=(4,))
    digest = model.digest
    model.logits(torch.rand(2, 4))
    assert model.digest == digest


def keras_model(*, activation: str = "relu", policy: str = "float32", crossed: bool = False) -> Any:
    """Two branches of one input; crossed, they are subtracted the other way round."""
    from keras import Input, Model, Sequential, layers

    inputs = Input((4,))
    inner = Sequential([Input((4,)), layers.Dense(3, activation=activation, dtype=policy), layers.Softmax()])
    branches = [inner(inputs), layers.Dense(3, activation="softmax")(inputs)]
    model = Model(inputs, layers.Subtract()(branches[::-1] if crossed else branches))
    for index, variable in enumerate(model.weights):
        variable.assign(0.1 * index + 0 * variable)
    return model


def keras_digest(model: Any) -> str:
    return KerasClassifier(model, task="tabular").digest


def test_keras_models_made_twice_agree_and_other_ones_differ() -> None:
    tensorflow()
    says: list[dict[str, Any]] = [{}, {"activation": "tanh"}, {"policy": "mixed_float16"}, {"crossed": True}]
    digests = [keras_digest(keras_model(**say)) for say in says]
    assert digests == [keras_digest(keras_model(**say)) for say in says]
    assert len(set(digests)) == len(says)


def test_keras_layers_without_a_configuration_are_told_by_their_class() -> None:
    tensorflow()
    import keras

    class Double(keras.layers.Layer):  # type: ignore[misc]
        def __init__(self, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.function = function

        def call(self, x: Any) -> Any:
            return 2 * self.function(x)

    class Half(Double):
        pass

    def digest(layer: Any) -> str:
        return keras_digest(keras.Sequential([keras.Input((4,)), layer]))

    assert digest(Double(abs)) == digest(Double(abs)) != digest(Half(abs))


def test_graphs_of_exported_programs_count(tmp_path: Path) -> None:
    def digest(name: str, part: nn.Module) -> str:
        program = torch.export.export(weighted(sequential(part)), (torch.rand(2, 4),))
        torch.export.save(program, tmp_path / f"{name}.pt2")
        return ExportedClassifier(tmp_path / f"{name}.pt2", task="tabular").digest

    assert digest("a", nn.ReLU()) == digest("b", nn.ReLU()) != digest("c", nn.Tanh())


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    tensorflow()
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 6)), keras.layers.LSTM(4), keras.layers.Dense(3)])
    folder = tmp_path_factory.mktemp("recurrent")
    model.save(folder / "model.keras")
    model.export(folder / "saved", verbose=False)
    return folder / "model.keras", folder / "saved"


def test_another_process_finds_the_same(recurrent: tuple[Path, Path]) -> None:
    here = [KerasClassifier(recurrent[0]).digest, SavedModelClassifier(recurrent[1]).digest]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, recurrent)]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_variables_of_a_saved_model_count(recurrent: tuple[Path, Path], tmp_path: Path) -> None:
    import keras

    model = keras.models.load_model(recurrent[0])
    model.weights[0].assign(2 * model.weights[0])
    model.export(tmp_path / "other", verbose=False)
    assert SavedModelClassifier(tmp_path / "other").digest != SavedModelClassifier(recurrent[1]).digest


def test_weights_buffers_and_normalisation_count() -> None:
    linear, norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
    model = TorchClassifier(nn.Sequential(linear, norm), task="tabular")
    digests = {model.digest, TorchClassifier(model.module, task="tabular", mean=0.5).digest}
    assert model.digest in digests
    assert norm.running_mean is not None
    norm.running_mean[0] += 1
    digests.add(model.digest)
    with torch.no_grad():
        linear.weight[0, 0] += 1
    digests.add(model.digest)
    assert len(digests) == 4
