"""Training objectives, one family a file: each is a frozen dataclass over the one training loop."""

from __future__ import annotations

from xaibench.training.objectives.adversarial import AttackTraining, PGDTraining
from xaibench.training.objectives.base import (
    CONTINUOUS,
    Forward,
    Measuring,
    Objective,
    Replaying,
    Restricted,
    TrainingLoss,
    needs_one_batch,
    needs_task,
    needs_threat,
    objectives,
    objectives_for,
)
from xaibench.training.objectives.composed import AdversarialWeights, EpsilonEnsemble
from xaibench.training.objectives.distillation import Distillation, RobustDistillation
from xaibench.training.objectives.divergences import MART, TRADES
from xaibench.training.objectives.fast import FGSMRandomStart, GradAlign, NoisyFGSM
from xaibench.training.objectives.free import FreeTraining
from xaibench.training.objectives.smooth import GaussianNoise, InputGradientPenalty
from xaibench.training.objectives.standard import Reconstruction, Standard
from xaibench.training.objectives.text import FreeLB, SubstitutionTraining

__all__ = [
    "CONTINUOUS",
    "MART",
    "TRADES",
    "AdversarialWeights",
    "AttackTraining",
    "Distillation",
    "EpsilonEnsemble",
    "FGSMRandomStart",
    "Forward",
    "FreeLB",
    "FreeTraining",
    "GaussianNoise",
    "GradAlign",
    "InputGradientPenalty",
    "Measuring",
    "NoisyFGSM",
    "Objective",
    "PGDTraining",
    "Reconstruction",
    "Replaying",
    "Restricted",
    "RobustDistillation",
    "Standard",
    "SubstitutionTraining",
    "TrainingLoss",
    "needs_one_batch",
    "needs_task",
    "needs_threat",
    "objectives",
    "objectives_for",
]
