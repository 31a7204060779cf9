"""Measuring a trained model on its test split, for its description and card."""

from __future__ import annotations

from pathlib import Path

from xaibench.card import Card
from xaibench.cards import write_card
from xaibench.data import load_data
from xaibench.evaluate import evaluate_clean
from xaibench.files import write_json
from xaibench.registry import Spec
from xaibench.training.objectives import Measuring, objectives
from xaibench.training.recipe import Recipe
from xaibench.types import Progress
from xaibench.zoo import load_model

__all__ = ["measure"]


def measure(folder: Path, *, progress: Progress | None = None) -> None:
    """Write metrics on the whole test split to a model folder's `config.json`, and its card from that.

    They are taken through the same seam as every later analysis, so a fault in saving or loading shows here.
    """
    model, card = load_model(folder), Card.read(folder / "config.json")
    recipe = Recipe.of(card.recipe, source=str(folder / "config.json"))
    test = load_data(card.data.name, card.data.test_split)
    metrics = evaluate_clean(model, test, progress=progress)
    objective = objectives.create(Spec(recipe.objective.name, recipe.objective.params))
    if isinstance(objective, Measuring):
        metrics |= objective.measure(model, lambda: load_data(card.data.name, card.data.train_split), test)
    changes = {"metrics": {card.data.test_split: metrics}, "weights_digest": model.digest}
    write_json(folder / "config.json", card.model_copy(update=changes).model_dump(mode="json"))
    write_card(folder)
