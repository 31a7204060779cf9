"""A hardened Keras model is a Keras model: it loads without this library, and a broken-off run resumes exactly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from xaibench.data import load_data
from xaibench.threats import Linf
from xaibench.training import train
from xaibench.training.recipe import Recipe
from xaibench.zoo import load_model

RECIPE = Recipe.of(
    {
        "name": "tiny",
        "data": "digits",
        "n": 240,
        "architecture": {"name": "keras_mlp", "params": {"hidden": [16], "dropout": 0.2}},
        "objective": {"name": "pgd_at", "params": {"steps": 2}},
        "probe": {"samples": 0},
        "monitor": "accuracy",
        "batch_size": 48,
        "epochs": 2,
        "ema": 0.9,
        "optimizer": {"name": "adam", "learning_rate": 5e-3},
    }
)
PLAIN = """
import sys
import keras
import numpy as np
model = keras.models.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
assert not any(name.startswith("xaibench") for name in sys.modules)
"""


class BrokenOffError(RuntimeError):
    """A run that was broken off."""


def test_a_hardened_model_loads_in_plain_keras_and_a_resumed_run_is_the_unbroken_one(tmp_path: Path) -> None:
    whole = train(RECIPE, threat=Linf(0.05), out=tmp_path / "whole")

    def stop(kind: str, done: int, total: int, figures: Any = None) -> None:
        if kind == "train" and done == 7:
            raise BrokenOffError

    plan = RECIPE.model_copy(update={"checkpoint_seconds": 0.0})
    with pytest.raises(BrokenOffError):
        train(plan, threat=Linf(0.05), out=tmp_path / "broken", progress=stop)
    broken = train(plan, threat=Linf(0.05), out=tmp_path / "broken", resume=True)
    models = [load_model(folder) for folder in (whole, broken)]
    x = load_data("digits", "test", 32).inputs
    assert isinstance(x, torch.Tensor)
    assert torch.equal(models[0].logits(x), models[1].logits(x))

    card = models[0].card
    assert card is not None
    mean, std = (torch.tensor(numbers).reshape(-1, 1, 1) for numbers in (card.mean, card.std))
    np.save(tmp_path / "x.npy", ((x - mean) / std).permute(0, 2, 3, 1).numpy())
    paths = [str(whole / "model.keras"), str(tmp_path / "x.npy"), str(tmp_path / "y.npy")]
    subprocess.run([sys.executable, "-c", PLAIN, *paths], check=True, timeout=120, capture_output=True)
    probabilities = torch.from_numpy(np.load(tmp_path / "y.npy"))
    torch.testing.assert_close(probabilities, models[0].logits(x).detach().softmax(1), rtol=1e-4, atol=1e-5)
