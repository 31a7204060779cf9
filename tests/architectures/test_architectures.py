"""Every architecture builds, counts what it says, and the recipes ask only for what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from xaibench.architectures import architectures
from xaibench.registry import Spec
from xaibench.training import Recipe

SHAPES: dict[str, tuple[list[int], int]] = {
    "deep_cnn": ([1, 28, 28], 10),
    "gru": ([20], 2),
    "keras_autoencoder": ([1, 28, 28], 10),
    "keras_cnn": ([3, 32, 32], 10),
    "keras_lstm": ([20], 2),
    "keras_mlp": ([1, 28, 28], 10),
    "keras_text_cnn": ([60], 2),
    "lenet": ([3, 32, 32], 10),
    "mlp": ([30], 2),
    "resnet": ([3, 32, 32], 10),
    "small_cnn": ([1, 8, 8], 10),
    "strided_cnn": ([1, 28, 28], 10),
    "text_transformer": ([20], 2),
    "vit": ([1, 28, 28], 10),
}
FROM_HUBS = ("timm", "transformers")
"""Networks of other packages, which tests of models from hubs build."""
# Counted by hand from the layers' definitions.
PARAMETERS = {
    "keras_mlp": 784 * 512 + 512 + 512 * 10 + 10,
    "strided_cnn": 16 * 16 + 16 + 32 * 16 * 16 + 32 + 1568 * 100 + 100 + 1010,
    "deep_cnn": 320 + (288 * 32 + 32) + (288 * 64 + 64) + (576 * 64 + 64) + (1024 * 200 + 200) + 200 * 201 + 2010,
    "lenet": (75 * 6 + 6) + (150 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10),
    "keras_cnn": (27 * 32 + 32) + (288 * 64 + 64) + (576 * 64 + 64) + (1024 * 64 + 64) + 650,
}


def build(name: str, **params: Any) -> Any:
    shape, classes = SHAPES[name]
    return architectures.create(Spec(name, {"input_shape": shape, "classes": classes} | params)).build()


def test_the_table_has_every_architecture() -> None:
    assert sorted([*SHAPES, *FROM_HUBS]) == list(architectures.names())


@pytest.mark.parametrize("name", SHAPES)
def test_builds_and_gives_one_row_a_sample(name: str) -> None:
    shape, classes = SHAPES[name]
    network = build(name)
    if isinstance(network, torch.nn.Module):
        x = torch.randint(0, 99, (3, *shape)) if len(shape) == 1 and shape[0] == 20 else torch.rand(3, *shape)
        network.eval()
        assert network(x).shape == (3, classes)
        count = sum(p.numel() for p in network.parameters())
    else:
        import numpy as np

        x = np.zeros((3, *shape), "int32") if len(shape) == 1 else np.zeros((3, *shape[1:], shape[0]), "float32")
        outputs = network(x)
        first = outputs[0] if isinstance(outputs, list) else outputs
        assert first.shape == (3, 1 if classes == 2 else classes)
        count = network.count_params()
    assert count == PARAMETERS.get(name, count)


@pytest.mark.parametrize("name", ["gru", "text_transformer"])
def test_padding_changes_nothing(name: str) -> None:
    network = build(name).eval()
    tokens = torch.tensor([[5, 9, 7, 3]])
    padded = torch.nn.functional.pad(tokens, (0, 16))
    with torch.no_grad():
        torch.testing.assert_close(network(padded), network(tokens), rtol=1e-4, atol=1e-5)
        assert torch.isfinite(network(torch.zeros_like(padded))).all()


def test_the_recipes_are_valid_and_named_as_their_files(root: Path) -> None:
    paths = sorted((root / "recipes").glob("*.toml"))
    assert len(paths) >= 15
    for path in paths:
        recipe = Recipe.read(path)
        assert recipe.name == path.stem
        if recipe.architecture is None:
            assert recipe.init in {other.stem for other in paths}
            continue
        params = {"input_shape": [1, 8, 8], "classes": 2} | recipe.architecture.params
        architectures.create(Spec(recipe.architecture.name, params))
