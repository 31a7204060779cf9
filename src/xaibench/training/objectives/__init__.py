"""Training objectives, one family a file: each is a frozen dataclass over the one training loop."""

from __future__ import annotations

from xaibench.training.objectives.adversarial import TRADES, PGDTraining
from xaibench.training.objectives.base import (
    Forward,
    Measuring,
    Objective,
    Replaying,
    TrainingLoss,
    needs_threat,
    objectives,
)
from xaibench.training.objectives.fast import FGSMRandomStart, NoisyFGSM
from xaibench.training.objectives.standard import Reconstruction, Standard

__all__ = [
    "TRADES",
    "FGSMRandomStart",
    "Forward",
    "Measuring",
    "NoisyFGSM",
    "Objective",
    "PGDTraining",
    "Reconstruction",
    "Replaying",
    "Standard",
    "TrainingLoss",
    "needs_threat",
    "objectives",
]
