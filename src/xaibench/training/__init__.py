"""Training: recipes in, model folders out."""

from __future__ import annotations

from xaibench.training.hardening import Hardening, harden
from xaibench.training.objectives import Objective, objectives
from xaibench.training.recipe import Recipe
from xaibench.training.session import train

__all__ = ["Hardening", "Objective", "Recipe", "harden", "objectives", "train"]
