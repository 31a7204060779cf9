"""How far attributions can be trusted: what each check measured, and a verdict with its reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["Trust", "Verdict"]

Verdict = Literal["trusted", "doubtful", "unreliable"]

_LEVELS: tuple[Verdict, ...] = ("trusted", "doubtful", "unreliable")
_SHARE = {"doubtful": 0.2, "unreliable": 0.1}
"""The share of samples that may fare so, or worse, without the verdict on all of them saying so."""


def _disproportion(share: Tensor) -> Tensor:
    """By which factor a share lies above or below 1; infinite for what has the wrong sign."""
    return torch.maximum(share, 1 / share.clamp_min(0))


@dataclass(frozen=True)
class _Rule:
    """Limits of a figure beyond which a sample is doubtful, or unreliable, and what that means in words."""

    figure: str
    doubtful: float
    unreliable: float
    words: str
    excess: Callable[[Tensor], Tensor] = torch.clone
    """How bad a value is, on the scale of the limits."""

    def levels(self, values: Tensor) -> Tensor:
        """(n,) int64: 0 trusted, 1 doubtful (also where the figure could not be taken), 2 unreliable."""
        excess = self.excess(values.double())
        return ((excess > self.doubtful).long() + (excess > self.unreliable)).masked_fill(values.isnan(), 1)


_RULES = (
    _Rule("completeness_gap", 0.05, 0.25, "the values miss the change of the logit by {:.0%} of it"),
    _Rule("sampling_error", 0.35, 0.7, "standard errors are {:.0%} of the values"),
    _Rule("kept", 2.0, 5.0, "the values add up to {:.2f} times the logit", _disproportion),
    _Rule("stability", -0.5, -0.2, "a little noise leaves a rank correlation of {:.2f}", torch.neg),
    _Rule("randomisation", 0.6, 0.95, "random weights leave a rank correlation of {:.2f}"),
)

_WORDS = {"kept": "share of the logit kept"}
"""Figures whose names alone do not say what was checked."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Figures per sample, (n,), of the checks that apply to a method; None for one that does not, or was not made."""

    completeness_gap: Tensor | None = None
    """Missed change of the logit, relative to the change, for methods that promise completeness."""
    tolerance: float = 0.01
    """The completeness gap that the method was asked to stay within; no limit of the verdict."""
    kept: Tensor | None = None
    """Share of the logit that the values add up to, for methods that hand it back but for what biases and the like take
    up."""
    sampling_error: Tensor | None = None
    """Root mean square standard error relative to the root mean square value, for methods that sample."""
    randomisation: Tensor | None = None
    """Absolute rank correlation with the attributions of copies of the model with random weights, in the mean: a method
    that looks at the model has a small one. NaN where there is nothing to rank, or too little to tell."""
    stability: Tensor | None = None
    """Rank correlation with the attributions of the same inputs after a little noise: high for a steady method. NaN
    where there is nothing to rank, or too little to tell."""
    uncovered: tuple[str, ...] = ()
    """Layers that the method's rules do not cover, as ``name (kind)``."""
    untested: Mapping[str, str] = field(default_factory=dict)
    """Checks that were left out, and why."""
    caveats: tuple[str, ...] = ()
    """Reasons to doubt that the model's own answers are about this input alone: clauses."""
    notes: tuple[str, ...] = ()
    """What else a reader should know, such as a background that had to be guessed: clauses without stops."""

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """For each sample, the worst that a check says of it; one for all where no check gave a figure for each.

        =================  ===================  ====================
        figure             doubtful             unreliable
        =================  ===================  ====================
        completeness gap   above 0.05           above 0.25
        sampling error     above 0.35           above 0.7
        stability          below 0.5            below 0.2
        kept               not in 0.5..2        not in 0.2..5
        randomisation      above 0.6            above 0.95
        =================  ===================  ====================

        What is left uncovered or untested makes doubtful. A sampling error of
        e leaves e squared of the mean square of the values to chance: an eighth at 0.35, half at 0.7. The rank
        correlations were measured on the shipped models: stability of input x gradient, integrated gradients, saliency
        and occlusion is at least 0.66 in every sample and that of maps drawn at random 0.0 in the median; random
        weights leave a median of 0.0 to 0.24 and 0.5 in one sample of ten at most, but 1.0 for edges, for the input
        itself and for random maps, and 0.9 for absolute gradients by features of unlike units, which tell the units.

        Guided backpropagation and the smoother activation maps are doubtful on small digits, at 0.75 and more. But to
        pass is not to be right: on evidence-cnn deconvnet passes, at 0.3, and finds an eighth of the evidence.
        """
        levels = [rule.levels(values) for rule, values in self._measured()]
        least = 1 if self._open() else 0
        if not levels:
            return (_LEVELS[least],)
        worst = torch.stack(levels).amax(dim=0).clamp_min(least)
        return tuple(_LEVELS[level] for level in worst.tolist())

    @property
    def verdict(self) -> Verdict:
        """Unreliable if more than one sample in ten is, else doubtful if more than one in five is that or worse."""
        found = self.verdicts
        for level in reversed(_LEVELS[1:]):
            worse = sum(_LEVELS.index(one) >= _LEVELS.index(level) for one in found)
            if worse > _SHARE[level] * len(found):
                return level
        return "trusted"

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, in one clause: the check that most samples fail, by the median of those."""
        level = _LEVELS.index(self.verdict)
        if level == 0:
            checks = ", ".join(_WORDS.get(rule.figure, rule.figure.replace("_", " ")) for rule, _ in self._measured())
            passed, n = self.verdicts.count("trusted"), len(self.verdicts)
            return f"it passes all checks{'' if passed == n else f' in {passed} of {n} samples'}: {checks}"
        most, found = 0, ""
        for rule, values in self._measured():
            failing = (rule.levels(values) >= level) & ~values.isnan()
            if int(failing.sum()) > most:
                most = int(failing.sum())
                found = rule.words.format(float(values[failing].double().median()))
                found += f" in {most} of {len(values)} samples" if len(values) > 1 else ""
        clauses = [clause for clause in (found, self._open()) if clause]
        return "; ".join(clauses) or "there are too few different values to rank"

    def at(self, row: int) -> Trust:
        """The same of one sample."""
        figures = {rule.figure: values[row : row + 1] for rule, values in self._measured()}
        return replace(self, **figures)  # type: ignore[arg-type]

    def _measured(self) -> Iterator[tuple[_Rule, Tensor]]:
        for rule in _RULES:
            if (values := getattr(self, rule.figure)) is not None:
                yield rule, values

    def _open(self) -> str:
        """What was not covered or not tested, in a clause; an empty string where nothing is open."""
        if self.caveats:
            return "; ".join(self.caveats)
        if self.uncovered:
            return f"its rules do not cover {', '.join(self.uncovered[:3])}{' and more' * (len(self.uncovered) > 3)}"
        if self.untested:
            return "; ".join(f"{check} was not tested: {reason}" for check, reason in self.untested.items())
        if missing := [name for name in ("stability", "randomisation") if getattr(self, name) is None]:
            return f"{' and '.join(missing)} {'were' if len(missing) > 1 else 'was'} not tested"
        return ""

    def figures(self) -> dict[str, Any]:
        """Verdict, reason, means over the samples and the rest, ready for JSON."""
        means = {rule.figure: float(values.double().nanmean()) for rule, values in self._measured()}
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            **{name: mean for name, mean in means.items() if math.isfinite(mean)},
            "uncovered": list(self.uncovered),
            "caveats": list(self.caveats),
            "untested": dict(self.untested),
            "notes": list(self.notes),
        }
