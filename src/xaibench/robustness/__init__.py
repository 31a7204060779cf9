"""Robustness as a bracket: what is proved, what is not broken, by which attack, and at what cost."""

from xaibench.robustness.ensembles import ensemble_names, stages
from xaibench.robustness.evaluate import evaluate_robustness
from xaibench.robustness.meter import Cost, Meter
from xaibench.robustness.result import RobustnessResult, StageResult
from xaibench.robustness.stage import Stage

__all__ = [
    "Cost",
    "Meter",
    "RobustnessResult",
    "Stage",
    "StageResult",
    "ensemble_names",
    "evaluate_robustness",
    "stages",
]
