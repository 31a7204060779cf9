"""Losses per sample over logits, by name; attacks ascend them.

Every loss takes logits (n, classes) and labels (n,), int64, and returns (n,): the higher, the further the model is
from answering with the label.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from xaibench.errors import unknown_name
from xaibench.types import Loss

__all__ = [
    "LOSSES",
    "TARGETED",
    "ce",
    "ce_targeted",
    "dlr",
    "dlr_targeted",
    "logit",
    "margin",
    "margin_targeted",
    "resolve",
]


def ce(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy with the label, at least 0."""
    return F.cross_entropy(logits, y, reduction="none")


def logit(logits: Tensor, y: Tensor) -> Tensor:
    """The label's own logit, negated."""
    return -_of_label(logits, y)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """The best other logit minus the label's: positive where the model answers otherwise.

    Carlini & Wagner, *Towards evaluating the robustness of neural networks* (S&P 2017).

    >>> margin(torch.tensor([[2.0, 5.0, 1.0]]), torch.tensor([0]))
    tensor([3.])
    """
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - _of_label(logits, y)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over the gap between the largest and the third largest logit.

    Croce & Hein, *Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks*
    (ICML 2020). It does not change when logits are shifted or scaled. With fewer than three classes there is no
    third logit, and the plain `margin` is returned.
    """
    if logits.shape[1] < 3:
        return margin(logits, y)
    top = logits.topk(3, dim=1).values
    return margin(logits, y) / (top[:, 0] - top[:, 2] + 1e-12)


def ce_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with the class aimed at, negated: at most 0."""
    return -F.cross_entropy(logits, target, reduction="none")


def margin_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The logit of the class aimed at minus the label's."""
    return _of_label(logits, target) - _of_label(logits, y)


def dlr_targeted(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The targeted margin over the gap between the largest logit and the mean of the third and the fourth.

    Croce & Hein (ICML 2020), as `dlr`. With fewer than four classes there is no fourth logit, and the plain
    `margin_targeted` is returned.
    """
    if logits.shape[1] < 4:
        return margin_targeted(logits, y, target)
    top = logits.topk(4, dim=1).values
    return margin_targeted(logits, y, target) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)


def resolve(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """The function behind a loss's name, or the given function itself; an unknown name raises `InputError`."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise unknown_name("loss", loss, LOSSES)
    return LOSSES[loss]


def _of_label(logits: Tensor, y: Tensor) -> Tensor:
    return logits.gather(1, y[:, None]).squeeze(1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": ce, "dlr": dlr, "logit": logit, "margin": margin}

TARGETED: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "ce": ce_targeted,
    "dlr": dlr_targeted,
    "margin": margin_targeted,
}
"""Losses of logits, labels and the classes aimed at, each (n,); the higher, the nearer the model is to the latter."""
