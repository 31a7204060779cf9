"""Which rows a training holds out, so that neither it nor the model that it starts from is trained on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xaibench.card import Card
from xaibench.data import Data, load_data
from xaibench.errors import InputError
from xaibench.rng import permutation
from xaibench.training.recipe import Recipe
from xaibench.zoo import model_folder

__all__ = ["Holdout", "holdout", "seen_by"]

_FEWEST = 20
"""Rows that a model at the start must have left for them to be held out in place of ones that it was trained on."""


@dataclass(frozen=True)
class Holdout:
    """Positions of the rows held out, in the order of their draw, and of those to train on."""

    held: Tensor
    trained: Tensor
    seen: int
    """Held-out rows that the initial weights were trained on, or may have been."""


def holdout(recipe: Recipe, rows: Data) -> Holdout:
    """The rows that a training by ``recipe`` on ``rows`` holds out.

    They are the first of a seeded permutation; with `init`, of what that model was not trained on, which may be fewer
    than the recipe asks for. Where it left fewer than 20, its own training rows are held out too, and counted.
    """
    return _holdout(recipe, rows, ())


def seen_by(model: str | Path, rows: Data) -> Tensor:
    """Which of these rows a model was trained on, as far as can be known, or may have been: bool (n,)."""
    return _seen_by(model, rows, ())


def _holdout(recipe: Recipe, rows: Data, above: tuple[Path, ...]) -> Holdout:
    order = permutation(len(rows), recipe.seed, "validation")
    count = round(recipe.validation * len(rows))
    if recipe.init is None or not count:
        return Holdout(order[:count], order[count:], 0)
    seen = _seen_by(recipe.init, rows, above)
    fresh = order[~seen[order]]
    held = (fresh if len(fresh) >= min(_FEWEST, count) else order)[:count]
    return Holdout(held, order[~torch.isin(order, held)], int(seen[held].sum()))


def _seen_by(model: str | Path, rows: Data, above: tuple[Path, ...]) -> Tensor:
    """``above`` are the folders of the models that began with this one: one that began with itself is gone."""
    everything = torch.ones(len(rows), dtype=torch.bool)
    try:
        folder = model_folder(model).resolve()
        card = Card.read(folder / "config.json")
        if card.data.digest != rows.digest and (card.data.name, card.data.train_split) != (rows.name, rows.split):
            return ~everything
        if folder in above or not card.recipe:
            return everything
        recipe = Recipe.of(card.recipe, source=str(folder / "config.json"))
        own = rows
        if card.data.digest != rows.digest:
            own = load_data(card.data.name, card.data.train_split, recipe.n, seed=recipe.seed)
            if card.data.digest != own.digest:
                return everything
        trained = own.ids[_holdout(recipe, own, (*above, folder)).trained]
        before = _seen_by(recipe.init, rows, (*above, folder)) if recipe.init else ~everything
    except InputError:  # what it was trained on is not at hand any more
        return everything
    return torch.isin(rows.ids, trained) | before
