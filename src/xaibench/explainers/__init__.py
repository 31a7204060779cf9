"""Attributions: how much each part of an input speaks for a class."""

from xaibench.explainers.attribution import Attribution, Cost
from xaibench.explainers.base import Explainer, explain, explainers
from xaibench.explainers.gradients import InputXGradient, Saliency
from xaibench.explainers.path import IntegratedGradients

__all__ = [
    "Attribution",
    "Cost",
    "Explainer",
    "InputXGradient",
    "IntegratedGradients",
    "Saliency",
    "explain",
    "explainers",
]
