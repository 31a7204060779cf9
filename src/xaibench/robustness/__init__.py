"""Robustness as a bracket: what is proved, what is not broken, by which attack, and at what cost."""

from xaibench.robustness.breaking import Edge, edge, noise
from xaibench.robustness.ensembles import ensemble_names, stages
from xaibench.robustness.evaluate import evaluate_robustness
from xaibench.robustness.meter import Cost, Meter
from xaibench.robustness.result import RobustnessResult, StageResult
from xaibench.robustness.stage import Stage
from xaibench.robustness.strike import Strike, Trajectory, strike

__all__ = [
    "Cost",
    "Edge",
    "Meter",
    "RobustnessResult",
    "Stage",
    "StageResult",
    "Strike",
    "Trajectory",
    "edge",
    "ensemble_names",
    "evaluate_robustness",
    "noise",
    "stages",
    "strike",
]
