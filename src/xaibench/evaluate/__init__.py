"""From a plan to an evaluation: clean metrics, robustness over a range of radii, explanations; resumable."""

from xaibench.evaluate.align import align
from xaibench.evaluate.inputs import load_classifier, load_pair, rows_at
from xaibench.evaluate.judgement import Judgement, judge
from xaibench.evaluate.options import ModelOptions
from xaibench.evaluate.plan import Plan
from xaibench.evaluate.results import Evaluation
from xaibench.evaluate.run import evaluate_clean, run

__all__ = [
    "Evaluation",
    "Judgement",
    "ModelOptions",
    "Plan",
    "align",
    "evaluate_clean",
    "judge",
    "load_classifier",
    "load_pair",
    "rows_at",
    "run",
]
