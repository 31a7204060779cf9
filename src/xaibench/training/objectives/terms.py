"""Terms that the losses of several objectives are made of, and what their parameters may be."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.training.objectives.base import Forward, TrainingLoss

__all__ = ["check_continuous", "check_label_smoothing", "check_weight", "cross_entropy_at", "divergence"]


def cross_entropy_at(forward: Forward, perturbed: Tensor, y: Tensor, label_smoothing: float) -> TrainingLoss:
    """Mean cross entropy at the inputs to train on."""
    logits = forward(perturbed)[0]
    return TrainingLoss(F.cross_entropy(logits, y, label_smoothing=label_smoothing), logits)


def divergence(clean: Tensor, moved: Tensor) -> Tensor:
    """Kullback-Leibler divergence (n,) of the second prediction from the first, both as logits (n, classes)."""
    return F.kl_div(moved.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)


def check_continuous(x: Tensor) -> None:
    """Raise `InputError` for token ids, which can be neither moved by a gradient nor blurred by noise."""
    if not x.is_floating_point():
        raise InputError(f"expected inputs of real numbers for this objective, got {x.dtype}")


def check_label_smoothing(value: float) -> None:
    """Raise `InputError` for a share out of range."""
    if not 0 <= value < 1:
        raise InputError(f"expected `label_smoothing` >= 0 and < 1, got {value}")


def check_weight(field: str, value: float) -> None:
    """Raise `InputError` for the weight of a term that is negative or not finite."""
    if not 0 <= value < float("inf"):
        raise InputError(f"expected `{field}` >= 0, got {value}")
