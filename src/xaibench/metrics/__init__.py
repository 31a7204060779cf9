"""Numbers about predictions: pure functions per sample, averaged once at the end."""

from xaibench.metrics.agreement import (
    centre_shift,
    rank_correlation,
    structural_similarity,
    top_k_overlap,
)
from xaibench.metrics.alignment import InputAlignment, edge_correlation
from xaibench.metrics.axioms import Completeness, InputInvariance, NonSensitivity
from xaibench.metrics.case import Case, QualityMetric, quality_metrics
from xaibench.metrics.classification import (
    area_under_curve,
    calibration_error,
    classification_metrics,
    confusion_matrix,
)
from xaibench.metrics.concentration import Complexity, Sparseness
from xaibench.metrics.intervals import bootstrap_interval, wilson_interval
from xaibench.metrics.localisation import MaskAuc, PointingGame, RelevanceMass, RelevanceRank, SpuriousMass
from xaibench.metrics.removal import Deletion, Insertion, PixelFlipping
from xaibench.metrics.road import Road
from xaibench.metrics.sanity import CascadingRandomisation, ModelRandomisation, RandomLogit
from xaibench.metrics.steadiness import LocalLipschitz, MaxSensitivity
from xaibench.metrics.subsets import FaithfulnessCorrelation, Infidelity, SensitivityN

__all__ = [
    "CascadingRandomisation",
    "Case",
    "Completeness",
    "Complexity",
    "Deletion",
    "FaithfulnessCorrelation",
    "Infidelity",
    "InputAlignment",
    "InputInvariance",
    "Insertion",
    "LocalLipschitz",
    "MaskAuc",
    "MaxSensitivity",
    "ModelRandomisation",
    "NonSensitivity",
    "PixelFlipping",
    "PointingGame",
    "QualityMetric",
    "RandomLogit",
    "RelevanceMass",
    "RelevanceRank",
    "Road",
    "SensitivityN",
    "Sparseness",
    "SpuriousMass",
    "area_under_curve",
    "bootstrap_interval",
    "calibration_error",
    "centre_shift",
    "classification_metrics",
    "confusion_matrix",
    "edge_correlation",
    "quality_metrics",
    "rank_correlation",
    "structural_similarity",
    "top_k_overlap",
    "wilson_interval",
]
