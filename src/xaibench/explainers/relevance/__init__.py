"""Relevance handed back through the traced graph of a network, by a rule for each operation."""

from xaibench.explainers.relevance.deep_lift import DeepLift
from xaibench.explainers.relevance.lrp import LRP
from xaibench.explainers.relevance.rectifiers import DeconvNet, GuidedBackprop

__all__ = ["LRP", "DeconvNet", "DeepLift", "GuidedBackprop"]
