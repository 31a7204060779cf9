"""How well a classifier does on labelled data: accuracy and its kin, ranking, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xaibench.errors import InputError
from xaibench.metrics.intervals import wilson_interval

__all__ = ["area_under_curve", "calibration_error", "classification_metrics", "confusion_matrix"]


def classification_metrics(logits: Tensor, labels: Tensor, class_names: Sequence[str]) -> dict[str, Any]:
    """All clean metrics of logits (n, classes) against labels (n,), ready for JSON.

    Precision, recall and F1 are averaged over the classes that occur among the labels; ``per_class`` has them one by
    one, with None for a class that does not occur. ``auc`` is the area under the ROC curve of class 1 for two classes,
    the mean of the one-against-rest areas for more, and None where fewer than two classes occur.
    ``calibration_error`` is the expected calibration error over 15 equal bins.

    Raises `InputError` for an empty set, non-finite logits, labels out of range, or shapes that disagree.
    """
    logits, labels = _checked(logits, labels, class_names)
    probabilities = logits.softmax(dim=1)
    confusion = confusion_matrix(logits.argmax(dim=1), labels, len(class_names))
    per_class = [_class_scores(confusion, index, name) for index, name in enumerate(class_names)]
    occurring = [scores for scores in per_class if scores["support"]]
    n, hits = len(labels), int(confusion.diagonal().sum())
    return {
        "n": n,
        "accuracy": hits / n,
        "accuracy_interval": list(wilson_interval(hits, n)),
        **{key: sum(scores[key] for scores in occurring) / len(occurring) for key in ("precision", "recall", "f1")},
        "auc": _auc(logits, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "log_loss": float(F.cross_entropy(logits, labels, reduction="none").mean()),
        "per_class": per_class,
        "confusion_matrix": confusion.tolist(),
    }


def confusion_matrix(predictions: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Counts (classes, classes), int64: rows are true classes, columns predicted ones.

    >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = torch.bincount(labels * num_classes + predictions, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes)


def area_under_curve(scores: Tensor, positive: Tensor) -> float | None:
    """Area under the ROC curve of scores (n,) for a boolean target (n,); None where the target is constant.

    The probability that a positive outranks a negative, ties counting half: Hanley and McNeil, *The meaning and use of
    the area under a receiver operating characteristic (ROC) curve* (Radiology 1982).

    >>> area_under_curve(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([False, False, True, True]))
    0.875
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, rank, ties = scores.unique(return_inverse=True, return_counts=True)
    last = ties.cumsum(0).double()
    mean_rank = (last - (ties - 1) / 2)[rank]
    wins = float(mean_rank[positive].sum()) - positives * (positives + 1) / 2
    return wins / (positives * negatives)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error of probabilities (n, classes): mean gap of confidence and accuracy, in [0, 1].

    Guo et al., *On calibration of modern neural networks* (ICML 2017): predictions are binned by the confidence of
    the predicted class into ``bins`` equal intervals, closed on the right.
    """
    confidence, prediction = probabilities.double().max(dim=1)
    gap = (prediction == labels).double() - confidence
    index = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    sums = torch.zeros(bins, dtype=torch.float64, device=gap.device).index_add(0, index, gap)
    return float(sums.abs().sum() / len(labels))


def _checked(logits: Tensor, labels: Tensor, class_names: Sequence[str]) -> tuple[Tensor, Tensor]:
    if logits.ndim != 2 or logits.shape[1] != len(class_names) or len(class_names) < 2:
        raise InputError(f"expected logits (n, {len(class_names)}), two classes or more, got {tuple(logits.shape)}")
    if labels.shape != logits.shape[:1] or not len(labels):
        raise InputError(f"expected one label for each of {len(logits)} samples, at least one, got {len(labels)}")
    if not bool(logits.isfinite().all()):
        raise InputError("expected finite logits, got NaN or infinity")
    if labels.is_floating_point() or int(labels.min()) < 0 or int(labels.max()) >= len(class_names):
        raise InputError(f"expected integer labels in 0..{len(class_names) - 1}, got {labels.min()}..{labels.max()}")
    return logits.detach().double(), labels.long()


def _class_scores(confusion: Tensor, index: int, name: str) -> dict[str, Any]:
    hits, support = int(confusion[index, index]), int(confusion[index].sum())
    predicted = int(confusion[:, index].sum())
    if not support:
        return {"name": name, "support": 0, "precision": None, "recall": None, "f1": None}
    return {
        "name": name,
        "support": support,
        "precision": hits / predicted if predicted else 0.0,
        "recall": hits / support,
        "f1": 2 * hits / (predicted + support),
    }


def _auc(logits: Tensor, labels: Tensor) -> float | None:
    if logits.shape[1] == 2:
        return area_under_curve(logits[:, 1] - logits[:, 0], labels == 1)
    probabilities = logits.softmax(dim=1)
    areas = [area_under_curve(column, labels == index) for index, column in enumerate(probabilities.unbind(1))]
    defined = [area for area in areas if area is not None]
    return sum(defined) / len(defined) if defined else None
