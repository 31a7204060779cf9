"""What an evaluation found about its explanations, as typed and frozen values that go to JSON and back."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from xaibench.card import Strict
from xaibench.evaluate.hardness import Count, Interval, SpecText, check_lengths

__all__ = ["Estimate", "ExplanationCurve", "Interpretability", "MethodTrust", "MovedAt", "Quality", "QualityScore"]


class Estimate(Strict):
    """A mean over samples, with its 95 % bootstrap interval; None for a single sample."""

    mean: float
    interval: Interval | None

    @property
    def ends(self) -> Interval:
        """The interval to draw: nothing wide where there is none."""
        return self.interval or (self.mean, self.mean)


class MethodTrust(Strict):
    """How far the attributions of one explainer can be trusted on this model: means over samples."""

    explainer: SpecText
    verdict: Literal["trusted", "doubtful", "unreliable"]
    reason: str
    verdicts: dict[str, Count] = Field(description="number of samples by their own verdict")
    completeness_gap: float | None = Field(default=None, description="missed change of the logit, relative to it")
    kept: float | None = Field(default=None, description="share of the logit that the values add up to")
    sampling_error: float | None = Field(default=None, description="standard error relative to the values")
    stability: float | None = Field(default=None, description="rank correlation with the map after a little noise")
    randomisation: float | None = Field(
        default=None, description="absolute rank correlation with the maps of copies with random weights"
    )
    uncovered: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()
    untested: dict[str, str] = Field(default={}, description="checks that were left out, and why")
    notes: tuple[str, ...] = ()


class MovedAt(Strict):
    """How far explanations moved at one radius."""

    radius: float
    n: Count = Field(description="number of samples")
    figures: dict[str, Estimate] = Field(
        description="rank_correlation, top_k_overlap and, for images, centre_shift and similarity"
    )


class ExplanationCurve(Strict):
    """How far the explanations of the clean class moved, by radius, for one explainer and one cause.

    ``noise``: a random point of the threat. ``attack``: the example that broke the prediction, at the radii from which
    on it lies within the threat, so that samples join as the radius grows. ``manipulation``: the input of the same
    predicted class whose map a search moved furthest, a lower bound on what is possible.
    """

    explainer: SpecText
    cause: Literal["noise", "attack", "manipulation"]
    points: tuple[MovedAt, ...]


class QualityScore(Strict):
    """One quality metric of one explainer; None where the metric does not apply to it."""

    explainer: SpecText
    score: Estimate | None


class Quality(Strict):
    """One quality metric of all explainers."""

    metric: str
    higher_is_better: bool
    scores: tuple[QualityScore, ...]


class Interpretability(Strict):
    """How good the explanations are, how far they agree, and how easily they are moved."""

    explainers: tuple[SpecText, ...] = Field(description="those that the model did not refuse; rows of the agreement")
    assessed: Count = Field(description="number of samples behind trust, agreement and quality")
    trust: tuple[MethodTrust, ...] = ()
    agreement: tuple[tuple[float, ...], ...] = Field(
        default=(), description="mean rank correlation of each two explainers on the same samples"
    )
    quality: tuple[Quality, ...] = ()
    curves: tuple[ExplanationCurve, ...] = Field(default=(), description="explanation robustness")

    @model_validator(mode="after")
    def _is_whole(self) -> Interpretability:
        if self.agreement:
            check_lengths(len(self.explainers), agreement=self.agreement)
        for row in self.agreement:
            check_lengths(len(self.explainers), agreement=row)
        return self
