"""Self-checks: can a robustness number be trusted?"""

from xaibench.checks.base import Case, Check, Outcome, Report, Status, Verdict, bound_of, checks, examine, verdict_of
from xaibench.checks.gradients import FiniteDifferences, UnstableGradients, ZeroGradients
from xaibench.checks.outputs import BatchDependence, ProbabilitiesNotLogits, RandomModel, StoredAdversarials
from xaibench.checks.planted import PlantedAdversarials
from xaibench.checks.radii import Monotonicity, UnboundedAttack
from xaibench.checks.rematches import BlackBoxBeatsWhiteBox, MoreEffort, NoiseSuffices, OneStepBeatsMany
from xaibench.checks.setting import GradientsInForward, Units
from xaibench.checks.trace import IncompleteOptimisation, SilentSuccess
from xaibench.checks.transfers import TransferFailure

__all__ = [
    "BatchDependence",
    "BlackBoxBeatsWhiteBox",
    "Case",
    "Check",
    "FiniteDifferences",
    "GradientsInForward",
    "IncompleteOptimisation",
    "Monotonicity",
    "MoreEffort",
    "NoiseSuffices",
    "OneStepBeatsMany",
    "Outcome",
    "PlantedAdversarials",
    "ProbabilitiesNotLogits",
    "RandomModel",
    "Report",
    "SilentSuccess",
    "Status",
    "StoredAdversarials",
    "TransferFailure",
    "UnboundedAttack",
    "Units",
    "UnstableGradients",
    "Verdict",
    "ZeroGradients",
    "bound_of",
    "checks",
    "examine",
    "verdict_of",
]
