"""How far attributions can be trusted: what each check measured, and a verdict with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

__all__ = ["Trust", "Verdict"]

Verdict = Literal["trusted", "doubtful", "unreliable"]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Figures per sample, (n,), of the checks that apply to a method; None for one that does not, or was not made."""

    completeness_gap: Tensor | None = None
    """Missed change of the logit, relative to the change, for methods that promise completeness."""
    tolerance: float = 0.01
    """The completeness gap that the method was asked to stay within."""
    sampling_error: Tensor | None = None
    """Root mean square standard error relative to the root mean square value, for methods that sample."""
    randomisation: Tensor | None = None
    """Absolute rank correlation with the attributions of a copy of the model with random weights: a method that looks
    at the model has a small one."""
    stability: Tensor | None = None
    """Rank correlation with the attributions of the same inputs after a little noise: high for a steady method."""
    uncovered: tuple[str, ...] = ()
    """Layers that the method's rules do not cover, as ``name (kind)``."""
    untested: Mapping[str, str] = field(default_factory=dict)
    """Checks that were left out, and why."""
    notes: tuple[str, ...] = ()
    """What else a reader should know, such as a background that had to be guessed: clauses without stops."""

    def figures(self) -> dict[str, Any]:
        """Means over the samples and the rest, ready for JSON."""
        means = {
            name: float(value.double().mean())
            for name in ("completeness_gap", "sampling_error", "randomisation", "stability")
            if (value := getattr(self, name)) is not None
        }
        return {**means, "uncovered": list(self.uncovered), "untested": dict(self.untested), "notes": list(self.notes)}
