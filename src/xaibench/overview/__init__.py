"""Explanations of a model as a whole: what matters over many samples, and how a layer arranges them."""

from xaibench.overview.embedding import EmbeddingMap, embedding_map
from xaibench.overview.figures import importance_figure, map_figure, swarm_figure
from xaibench.overview.importance import GlobalImportance, global_importance
from xaibench.overview.permutation import permutation_importance
from xaibench.overview.swarm import Beeswarm, beeswarm

__all__ = [
    "Beeswarm",
    "EmbeddingMap",
    "GlobalImportance",
    "beeswarm",
    "embedding_map",
    "global_importance",
    "importance_figure",
    "map_figure",
    "permutation_importance",
    "swarm_figure",
]
