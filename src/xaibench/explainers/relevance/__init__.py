"""Relevance handed back through the traced graph of a network, by a rule for each operation."""

from xaibench.explainers.relevance.deep_lift import DeepLift

__all__ = ["DeepLift"]
