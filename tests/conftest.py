"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import pytest

ROOT = Path(__file__).resolve().parents[1]

PRAISE = ("a warm and honest film", "a lovely story", "wonderful actors", "I was moved", "good from start to end")
BLAME = ("a dull and empty film", "a silly story", "awful actors", "I was bored", "bad from start to end")


@pytest.fixture(scope="session")
def root() -> Path:
    """The source checkout."""
    return ROOT


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models home with three models that take a second to train: `toy-image`, `toy-table` and `toy-text`."""
    from xaibench.training import Recipe, train

    home = tmp_path_factory.mktemp("models")
    reviews = home.parent / "reviews.csv"
    rows = [
        f'"{text} {index}",{label}'
        for index in range(20)
        for label, texts in enumerate((BLAME, PRAISE))
        for text in texts
    ]
    reviews.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    fast = {"epochs": 4, "batch_size": 32, "optimizer": {"learning_rate": 0.01}}
    recipes = (
        {
            "name": "toy-image",
            "data": "digits",
            "architecture": {"name": "small_cnn", "params": {"width": 4, "hidden": 16}},
        },
        {"name": "toy-table", "data": "breast-cancer", "architecture": {"name": "mlp"}},
        {
            "name": "toy-text",
            "data": str(reviews),
            "architecture": {"name": "gru", "params": {"dim": 8, "hidden": 8}},
            "text": {"vocabulary": 60, "length": 12},
        },
    )
    for recipe in recipes:
        train(Recipe.of({**fast, **recipe}), out=home / str(recipe["name"]))
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need real data where there is no mirror of it."""
    if os.environ.get("XAIBENCH_DATA_HOME"):
        return
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason="XAIBENCH_DATA_HOME names no mirror of the data sets"))
