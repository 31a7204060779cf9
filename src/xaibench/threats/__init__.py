"""Threat models: how far an input may be moved, in which norm, and never out of the box of valid inputs."""

from xaibench.threats.balls import L0, L1, L2, Linf, threat
from xaibench.threats.base import Threat, as_dict, check_threat, contains, feature_scale

__all__ = ["L0", "L1", "L2", "Linf", "Threat", "as_dict", "check_threat", "contains", "feature_scale", "threat"]
