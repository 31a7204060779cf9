"""Explanations by examples: what is near, what is typical, and what a prediction was learnt from."""

from xaibench.examples.features import layer_features
from xaibench.examples.influence import Checkpoint, Influence, kept_checkpoints, self_influence, tracin
from xaibench.examples.neighbours import Neighbours, nearest_neighbours
from xaibench.examples.prototypes import Prototypes, prototypes

__all__ = [
    "Checkpoint",
    "Influence",
    "Neighbours",
    "Prototypes",
    "kept_checkpoints",
    "layer_features",
    "nearest_neighbours",
    "prototypes",
    "self_influence",
    "tracin",
]
