"""What an evaluation found, as typed and frozen values that go to JSON and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from torch import Tensor

from xaibench.card import Card, Strict
from xaibench.evaluate.hardness import (
    Confusion,
    Corruptions,
    Count,
    Curve,
    Robustness,
    Share,
    ShareInterval,
    SpecText,
    check_lengths,
)
from xaibench.evaluate.interpreted import Interpretability
from xaibench.evaluate.plan import Plan

__all__ = [
    "Calibration",
    "Caveat",
    "ClassScores",
    "CleanMetrics",
    "DataInfo",
    "Evaluation",
    "ExplainedSample",
    "Map",
    "ModelInfo",
    "NotMeasured",
    "Results",
    "View",
]


class ModelInfo(Strict):
    """Which classifier was evaluated."""

    name: str
    framework: str
    task: Literal["image", "text", "tabular"]
    digest: str = Field(description="SHA-256 of everything that decides the logits")
    class_names: tuple[str, ...]
    input_shape: tuple[int | None, ...] | None
    bounds: tuple[float | tuple[float, ...], float | tuple[float, ...]]
    card: Card | None


class DataInfo(Strict):
    """Which samples it was evaluated on."""

    name: str
    split: str
    n: Count = Field(ge=1)
    digest: str = Field(description="SHA-256 of the selected inputs, labels and class names")
    class_names: tuple[str, ...]
    feature_names: tuple[str, ...] | None


class ClassScores(Strict):
    """Scores of one class; None where the class does not occur among the labels."""

    name: str
    support: Count
    precision: Share | None
    recall: Share | None
    f1: Share | None


class Calibration(Strict):
    """One bin of the reliability diagram: predictions whose confidence lies in (low, high]."""

    low: float
    high: float
    n: Count
    confidence: Share | None = Field(description="mean confidence of the predicted class; None for an empty bin")
    accuracy: Share | None = Field(description="share of correct predictions; None for an empty bin")


class CleanMetrics(Strict):
    """Metrics on the unchanged samples; intervals are Wilson's at 95 %."""

    n: Count
    accuracy: Share
    accuracy_interval: ShareInterval
    precision: Share
    recall: Share
    f1: Share
    auc: Share | None
    calibration_error: Share
    log_loss: float
    per_class: tuple[ClassScores, ...]
    confusion_matrix: Confusion
    calibration: tuple[Calibration, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> CleanMetrics:
        check_lengths(len(self.per_class), confusion_matrix=self.confusion_matrix)
        return self


class Map(Strict):
    """One attribution; its values stand in ``attributions.safetensors`` under ``key``."""

    explainer: SpecText
    params: dict[str, Any]
    target: Count = Field(description="the class that is explained: the one predicted for this view")
    key: str
    completeness_gap: float | None = Field(
        default=None, description="how far the values miss the difference of logits that they should add up to"
    )
    verdict: Literal["trusted", "doubtful", "unreliable"] | None = Field(
        default=None, description="of the checks of this attribution; they are made of clean samples alone"
    )


class View(Strict):
    """One sample as the model sees it, clean or attacked."""

    prediction: Count
    confidence: Share
    maps: tuple[Map, ...]


class ExplainedSample(Strict):
    """A sample with its prediction and attributions, and the same under attack where one broke it."""

    id: Count = Field(description="row in the full split")
    index: Count = Field(description="row among the evaluated samples")
    label: Count
    clean: View
    attacked: View | None = None
    attack: str | None = Field(default=None, description="the attack whose example the attacked view shows")
    distance: float | None = Field(default=None, description="how far the attacked input lies from the clean one")
    agreement: dict[str, float] = Field(
        default={},
        description="Spearman rank correlation of attributions before and after, both of the clean class, by explainer",
    )
    tokens: tuple[str, ...] | None = Field(default=None, description="the words, for text")
    attacked_tokens: tuple[str, ...] | None = Field(default=None, description="the words under attack, for text")


class NotMeasured(Strict):
    """Something that the plan asked for and that was left out, with the reason."""

    what: str
    reason: str


class Caveat(Strict):
    """Something about the model that makes its numbers doubtful, and what follows for them: sentences without stops."""

    what: str
    meaning: str


class Results(Strict):
    """Everything that is a function of plan, model and data alone; timings are kept elsewhere."""

    clean: CleanMetrics
    robustness: Robustness | None
    corruptions: Corruptions | None = None
    explanations: tuple[ExplainedSample, ...]
    interpretability: Interpretability | None = Field(default=None, description="None where it was not measured")
    not_measured: tuple[NotMeasured, ...]
    caveats: tuple[Caveat, ...] = Field(default=(), description="reasons not to take the numbers at their word")

    @property
    def classes(self) -> set[int]:
        """Those that explained samples have, are given, or are explained for."""
        views = [view for one in self.explanations for view in (one.clean, one.attacked) if view is not None]
        given = {view.prediction for view in views} | {one.target for view in views for one in view.maps}
        return given | {one.label for one in self.explanations}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A finished evaluation.

    ``adversarials`` holds tensors over the n samples: ``ids``, ``labels``, ``predictions`` (clean), ``inputs`` (token
    ids for text), and for every attack ``broken_at/<attack>``, the position among the radii of the first one at which
    it broke the sample (0 for one that is misclassified without it, the number of radii for one that it never broke),
    ``adversarials/<attack>``, the example that did it (else the clean input), its class ``predictions/<attack>``, and
    ``stages/<attack>``, which stage of an ensemble found it (-1 for none). ``proved_at`` is the position of the largest
    radius at which a sample is proved (0 for none beyond the clean input, -1 where that is misclassified).
    ``minimal/rows`` (m,) and ``minimal/examples`` (m, ...) are the nearest examples found, and
    ``manipulated/<explainer>`` (radii, m, ...) the inputs of the same class that move its maps furthest.
    ``attributions`` holds the values of each `Map` by its key.
    """

    plan: Plan
    model: ModelInfo
    data: DataInfo
    results: Results
    adversarials: Mapping[str, Tensor]
    attributions: Mapping[str, Tensor]
    versions: Mapping[str, str]
    seconds: Mapping[str, float] = field(compare=False)
    passes: Mapping[str, tuple[int, int]] = field(compare=False, default_factory=dict)
    """Samples passed through the model forwards and backwards, by attack and by ``<attack>: <stage>``, at all radii.

    With the rows that fill up a batch, whose size is the one that is fastest where the run is made.
    """
    path: Path | None = None
    shards: Path | None = None
    """Folder of the run's finished shards below ``path``, of no use once the report is written."""

    @property
    def clean(self) -> CleanMetrics:
        """Metrics on the unchanged samples."""
        return self.results.clean

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Robust accuracy by attack, the worst case last; empty where robustness was not measured."""
        robustness = self.results.robustness
        return (*robustness.curves, robustness.worst_case) if robustness else ()

    @property
    def explanations(self) -> tuple[ExplainedSample, ...]:
        """The explained samples."""
        return self.results.explanations

    @property
    def digest(self) -> str:
        """SHA-256 of results, adversarial examples and attributions: equal for equal runs, whatever they took."""
        digest = hashlib.sha256(self.results.model_dump_json().encode())
        for tensors in (self.adversarials, self.attributions):
            for name in sorted(tensors):
                tensor = tensors[name].detach().cpu().contiguous()
                digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
                digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    @property
    def summary(self) -> str:
        """A few sentences drawn from the numbers, and one for each caveat."""
        from xaibench.evaluate.summary import summarise

        return summarise(self)

    def __repr__(self) -> str:
        from xaibench.evaluate.drawn import evaluation_line

        return evaluation_line(self)

    def _repr_html_(self) -> str:
        from xaibench.evaluate.drawn import evaluation_html

        return evaluation_html(self)
