"""Certificates: what is proved of a model's answers, by bounds or by randomised smoothing."""

from xaibench.certify.margins import Prover, margin_bounds, prove
from xaibench.certify.smoothing import SmoothedPrediction, Smoothing

__all__ = ["Prover", "SmoothedPrediction", "Smoothing", "margin_bounds", "prove"]
