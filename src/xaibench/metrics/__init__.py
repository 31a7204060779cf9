"""Numbers about predictions: pure functions per sample, averaged once at the end."""

from xaibench.metrics.agreement import (
    centre_shift,
    rank_correlation,
    structural_similarity,
    top_k_overlap,
)
from xaibench.metrics.classification import (
    area_under_curve,
    calibration_error,
    classification_metrics,
    confusion_matrix,
)
from xaibench.metrics.intervals import wilson_interval

__all__ = [
    "area_under_curve",
    "calibration_error",
    "centre_shift",
    "classification_metrics",
    "confusion_matrix",
    "rank_correlation",
    "structural_similarity",
    "top_k_overlap",
    "wilson_interval",
]
