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

__all__ = ["LOSSES", "ce", "dlr", "logit", "margin", "resolve"]


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
    others = logits.masked_fill(F.one_hot(y, logits.shape[1]).bool(), -torch.inf)
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
