"""Concepts that people have names for, tested for their part in a model's decisions."""

from xaibench.concepts.directions import ConceptDirection, concept_direction
from xaibench.concepts.tcav import ConceptScore, TcavResult, tcav

__all__ = ["ConceptDirection", "ConceptScore", "TcavResult", "concept_direction", "tcav"]
