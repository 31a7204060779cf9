"""Training: recipes in, model folders out."""

from __future__ import annotations

from xaibench.training.objectives import Objective, objectives
from xaibench.training.recipe import Recipe
from xaibench.training.session import train

__all__ = ["Objective", "Recipe", "objectives", "train"]
