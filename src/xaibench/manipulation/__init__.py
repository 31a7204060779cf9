"""Explanations under attack: how far a map moves, and how far it can be moved while the prediction stays."""

from xaibench.manipulation.attack import ManipulationResult, attack_explanation
from xaibench.manipulation.movement import Movement, moved
from xaibench.manipulation.objectives import Centre, Objective, Rank, TargetMap, TopK, objectives

__all__ = [
    "Centre",
    "ManipulationResult",
    "Movement",
    "Objective",
    "Rank",
    "TargetMap",
    "TopK",
    "attack_explanation",
    "moved",
    "objectives",
]
