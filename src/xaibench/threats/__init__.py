"""Threat models: how far an input may be moved, in which norm, and never out of the box of valid inputs."""

from xaibench.threats.balls import L0, L1, L2, Linf
from xaibench.threats.base import Threat, as_dict, check_threat, contains, feature_scale
from xaibench.threats.constrained import Constrained
from xaibench.threats.named import threat
from xaibench.threats.spatial import Motion, Spatial
from xaibench.threats.words import Words

__all__ = [
    "L0",
    "L1",
    "L2",
    "Constrained",
    "Linf",
    "Motion",
    "Spatial",
    "Threat",
    "Words",
    "as_dict",
    "check_threat",
    "contains",
    "feature_scale",
    "threat",
]
