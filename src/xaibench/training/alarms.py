"""Alarms on overfitting, as pure functions of what was measured after each epoch.

Both compare robust accuracy on held-out rows with accuracy on the attacked inputs that were trained on. They say what
happened, and allow for the sampling error of the probe; what is done about it is the recipe's `on_overfitting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xaibench.metrics.intervals import wilson_interval

__all__ = [
    "CATASTROPHIC",
    "ROBUST",
    "EpochScores",
    "catastrophic_overfitting",
    "is_better",
    "overfitting",
    "robust_overfitting",
    "scores_of",
    "since_rewinding",
]

CATASTROPHIC = "catastrophic_overfitting"
ROBUST = "robust_overfitting"

_COLLAPSE = 0.5
"""A probe that falls below this share of its best has collapsed."""

_BLIND = 0.2
"""Training whose probe keeps less than this share of the accuracy on attacked training inputs never saw the attack."""

_LEARNED = 0.5
"""Accuracy on attacked training inputs from which the training attack counts as learned."""

_EPOCHS = 3
"""Probed epochs in a row that make a fall of robust accuracy a trend."""

_DEVIATIONS = 2.0
"""Standard errors that a fall must exceed in each of these epochs."""

_FEWEST = 100
"""Rows without which a probe raises no alarm: chance alone would, too often."""


@dataclass(frozen=True)
class EpochScores:
    """Accuracy on the attacked inputs of an epoch, and under the probe of ``n`` held-out rows after it."""

    epoch: int
    attacked: float
    robust: float
    n: int


def overfitting(epochs: Sequence[EpochScores]) -> str | None:
    """The alarm that the last of these epochs raises, if any."""
    if catastrophic_overfitting(epochs):
        return CATASTROPHIC
    return ROBUST if robust_overfitting(epochs) else None


def catastrophic_overfitting(epochs: Sequence[EpochScores]) -> bool:
    """Whether the network has learned its training attack, and not the probe's.

    Wong, Rice & Kolter, *Fast is better than free: revisiting adversarial training* (ICLR 2020). Two signs: the probe
    falls below half of its best in an earlier epoch while accuracy on attacked training inputs is no lower than it was
    then; or for two probed epochs in a row it keeps less than a fifth of an accuracy in training of more than half.
    What is compared is the upper end of the probe's 95 % interval. Probes of fewer than 100 rows raise no alarm.

    >>> healthy = [EpochScores(1, 0.5, 0.45, 500), EpochScores(2, 0.6, 0.5, 500)]
    >>> catastrophic_overfitting(healthy), catastrophic_overfitting([*healthy, EpochScores(3, 0.9, 0.02, 500)])
    (False, True)
    """
    if not epochs or epochs[-1].n < _FEWEST:
        return False
    *earlier, last = epochs
    best = max(earlier, key=lambda scores: scores.robust, default=None)
    if best and _upper(last) < _COLLAPSE * best.robust and last.attacked >= best.attacked:
        return True
    return len(epochs) > 1 and all(scores.attacked > _LEARNED and _is_blind(scores) for scores in epochs[-2:])


def robust_overfitting(epochs: Sequence[EpochScores]) -> bool:
    """Whether held-out robust accuracy has clearly left its best behind while that in training still rose.

    Rice, Wong & Kolter, *Overfitting in adversarially robust deep learning* (ICML 2020). Clearly: in each of the last
    three probed epochs by more than two standard errors of the difference. The best is the highest mean of three probed
    epochs in a row before: a single one is the more a stroke of luck the more epochs there were. Probes of fewer than
    100 rows raise no alarm.
    """
    if len(epochs) < 2 * _EPOCHS or epochs[-1].n < _FEWEST:
        return False
    earlier, recent = epochs[:-_EPOCHS], epochs[-_EPOCHS:]
    means = [_mean(earlier[end - _EPOCHS : end]) for end in range(_EPOCHS, len(earlier) + 1)]
    best = max(means, key=lambda scores: scores.robust)
    return recent[-1].attacked > best.attacked and all(
        best.robust - scores.robust > _DEVIATIONS * _error(best, scores) for scores in recent
    )


def is_better(best: EpochScores, last: EpochScores) -> bool:
    """Whether there is something to go back to: an epoch that saw the attack, and was beyond chance more robust."""
    return best.robust > _upper(last) and not _is_blind(best)


def since_rewinding(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The epochs that led to the weights of now: without those that a rewind undid."""
    led: list[Mapping[str, Any]] = []
    for line in history:
        led.append(line)
        if "rewound_to" in line:
            led = [earlier for earlier in led if earlier["epoch"] <= line["rewound_to"]]
    return led


def scores_of(history: Sequence[Mapping[str, Any]], *, warm: float) -> list[EpochScores]:
    """The probed ones of the epochs that led to the weights of now, but for the first ``warm``.

    While the radius grows, training inputs are attacked less than the probe's, and the two do not compare.
    """
    return [
        EpochScores(line["epoch"], line["accuracy"], line["validation_robust_accuracy"], line["probed"])
        for line in since_rewinding(history)
        if "validation_robust_accuracy" in line and line["epoch"] > warm
    ]


def _mean(epochs: Sequence[EpochScores]) -> EpochScores:
    """As one, after the last of them."""
    attacked, robust = (sum(getattr(one, key) for one in epochs) / len(epochs) for key in ("attacked", "robust"))
    return EpochScores(epochs[-1].epoch, attacked, robust, epochs[-1].n)


def _is_blind(scores: EpochScores) -> bool:
    return _upper(scores) < _BLIND * scores.attacked


def _upper(scores: EpochScores) -> float:
    return wilson_interval(round(scores.robust * scores.n), scores.n)[1]


def _error(*both: EpochScores) -> float:
    """Standard error of the difference of two proportions; one of 0 or 1 counts as half a row away from it."""
    shares = [(min(max(s.robust, 0.5 / s.n), 1 - 0.5 / s.n), s.n) for s in both]
    return math.sqrt(sum(share * (1 - share) / n for share, n in shares))
