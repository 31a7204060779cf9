"""Reports whose parts contradict each other: refused when they are read, so that no reader comes to grief over them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xaibench.errors import InputError
from xaibench.metrics import wilson_interval
from xaibench.report import Report

Document = dict[str, Any]
OLD = Path(__file__).parent / "old" / "v3" / "report.json"


@pytest.fixture(scope="module")
def document() -> Document:
    return json.loads(OLD.read_text(encoding="utf-8"))


def robustness(document: Document) -> Document:
    return document["results"]["robustness"]


def attacked(document: Document) -> Document:
    """The first explained sample that an attack broke."""
    return next(one for one in document["results"]["explanations"] if one["attacked"])


def whole(document: Document) -> Document:
    """A curve of samples that no attack breaks, as its counts say."""
    n = document["data"]["n"]
    return {"robust": [n] * 4, "accuracy": [1.0] * 4, "interval": [wilson_interval(n, n)] * 4}


DAMAGES: dict[str, tuple[Callable[[Document], object], str]] = {
    "no time": (lambda d: d["timings"].update(finished="yesterday"), "finished"),
    "a time before all others": (lambda d: d["timings"].update(finished="0001-01-01T00:00:00+00:00"), "UTC"),
    "a time elsewhere": (lambda d: d["timings"].update(finished="2026-01-01T00:00:00+14:00"), "UTC"),
    "a radius of its own": (lambda d: robustness(d).update(eps=0.777), "expected `eps` > 0 as one of `radii`"),
    "no radii": (lambda d: robustness(d).update(radii=[]), "expected `eps` > 0 as one of `radii`"),
    "radii in disorder": (lambda d: robustness(d)["radii"].reverse(), "`radii` in ascending order"),
    "too few shares": (lambda d: robustness(d)["worst_case"].update(accuracy=[1.0]), "expected 4 of `accuracy`, got 1"),
    "too few intervals": (
        lambda d: robustness(d)["worst_case"].update(interval=[[0, 1]]),
        "expected 4 of `interval`, got 1",
    ),
    "too few proved": (lambda d: robustness(d)["proved"].update(count=[1]), "expected 4 of `count`, got 1"),
    "a curve for other radii": (
        lambda d: robustness(d)["curves"][0].update(robust=[5], accuracy=[1.0], interval=[[0, 1]]),
        "expected 4 of `robust of fgsm`, got 1",
    ),
    "no curves": (lambda d: robustness(d).update(curves=[]), "expected `attacks` to be those of `curves`"),
    "a curve of another attack": (
        lambda d: robustness(d)["curves"][0].update(attack="square"),
        "expected `attacks` to be those of `curves`",
    ),
    "a curve of no attack": (lambda d: robustness(d)["curves"][0].update(attack="pgd:("), "attack"),
    "no edges": (lambda d: robustness(d)["minimal"].update(edges=[]), "expected 13 of `edges`, got 0"),
    "no counts": (lambda d: robustness(d)["minimal"].update(edges=[0.0], counts=[]), "counts"),
    "no distances": (lambda d: robustness(d)["minimal"].update(distances=[]), "expected 3 of `distances`, got 0"),
    "a share of more than all": (lambda d: d["results"]["clean"].update(accuracy=7.0), "accuracy"),
    "robust accuracies of more than all": (
        lambda d: robustness(d)["worst_case"].update(accuracy=[7.0] * 4),
        "accuracy",
    ),
    "more robust samples than samples": (
        lambda d: robustness(d)["worst_case"].update(robust=[7000] * 4),
        "expected at most 6 robust samples, got 7000",
    ),
    "no names of classes": (lambda d: d["model"].update(class_names=[]), "expected 0 of `per_class`, got 10"),
    "a class that there is not": (
        lambda d: d["results"]["explanations"][0].update(label=10),
        "expected classes from 0 to 9",
    ),
    "a matrix with a row too few": (lambda d: d["results"]["clean"]["confusion_matrix"].pop(), "confusion_matrix"),
    "agreement of others": (
        lambda d: d["results"]["interpretability"].update(agreement=[[1.0] * 9]),
        "of `agreement`",
    ),
    "other samples": (lambda d: d["data"].update(n=7), "expected metrics of 7 samples, got 6"),
    "an accuracy of its own": (
        lambda d: d["results"]["clean"].update(accuracy=0.99),
        "expected clean.accuracy to be 0.833333, as its counts say, got 0.99",
    ),
    "an interval of its own": (
        lambda d: d["results"]["clean"].update(accuracy_interval=[0.9, 1]),
        "expected clean.accuracy, its interval to be",
    ),
    "a mean of its own": (lambda d: d["results"]["clean"].update(f1=0.5), "expected clean.f1 to be 0.733333"),
    "a recall of its own": (
        lambda d: next(one for one in d["results"]["clean"]["per_class"] if one["support"]).update(recall=0.5),
        "recall to be 1",
    ),
    "more counted than there are": (
        lambda d: d["results"]["clean"]["confusion_matrix"][0].__setitem__(0, 60),
        "expected the sum of clean.confusion_matrix to be 6",
    ),
    "bins of other samples": (
        lambda d: d["results"]["clean"]["calibration"][-1].update(n=0),
        "samples in clean.calibration",
    ),
    "a robust accuracy of its own": (
        lambda d: robustness(d)["worst_case"].update(accuracy=[1.0] * 4),
        "expected accuracy of worst-case to be",
    ),
    "a worst case better than an attack": (
        lambda d: robustness(d).update(worst_case={**robustness(d)["worst_case"], **whole(d)}),
        "expected no more robust samples in the worst case than under fgsm",
    ),
    "more broken than the curve says": (
        lambda d: robustness(d)["attacks"][0].update(broken=0),
        "expected samples broken by fgsm to be",
    ),
    "a proved accuracy of its own": (
        lambda d: robustness(d)["proved"].update(accuracy=[1.0] * 4),
        "expected proved.accuracy to be",
    ),
    "a class of its own": (
        lambda d: next(one for one in robustness(d)["per_class"] if one["support"]).update(correct=5),
        "correct to be 1, as the rest says, got 5",
    ),
    "another threat than was asked for": (lambda d: d["plan"].update(norm="l2"), "expected norm to be l2"),
    "a better verdict": (
        lambda d: robustness(d).update(
            checks={
                "verdict": "reliable",
                "outcomes": [{"check": "a", "status": "fail", "figure": None, "limit": None, "advice": ""}],
            }
        ),
        "expected the verdict unreliable",
    ),
    "distances that were not found": (lambda d: robustness(d)["minimal"].update(found=0), "expected minimal.found"),
    "a better mean of corruptions": (
        lambda d: d["results"]["corruptions"].update(mean=0.999),
        "expected corruptions.mean to be",
    ),
    "a sample beyond all": (
        lambda d: d["results"]["explanations"][0].update(index=6),
        "as one of 6, got number 6",
    ),
    "a sample attacked by nothing": (
        lambda d: attacked(d).update(attack="square"),
        "attacked by one of fgsm, pgd:steps=3, got 'square'",
    ),
    "a sample attacked and not": (lambda d: attacked(d).update(attack=None), "attacked by an attack, or neither"),
    "a sample attacked from nowhere": (lambda d: attacked(d).update(distance=None), "expected a distance"),
    "attacks that were not asked for": (lambda d: d["plan"]["attacks"].pop(), "expected attacks to be fgsm"),
    "no table by class": (lambda d: robustness(d).update(per_class=[]), "expected 10 of `per_class`, got 0"),
    "maps moved nowhere": (
        lambda d: d["results"]["interpretability"]["curves"][0].update(points=[]),
        "rank_correlation and top_k_overlap",
    ),
    "maps moved by nothing": (
        lambda d: d["results"]["interpretability"]["curves"][0]["points"][0]["figures"].pop("top_k_overlap"),
        "rank_correlation and top_k_overlap",
    ),
    "fewer maps after the attack": (lambda d: attacked(d)["attacked"].update(maps=[]), "the same maps"),
    "names of other classes": (lambda d: d["data"]["class_names"].pop(), "names of the data's classes"),
    "passes without end": (lambda d: d["timings"]["passes"].update(fgsm=[10**400, 0]), "passes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_report_that_contradicts_itself_is_not_read(damage: str, document: Document, tmp_path: Path) -> None:
    change, said = DAMAGES[damage]
    damaged = copy.deepcopy(document)
    change(damaged)
    (tmp_path / "report.json").write_text(json.dumps(damaged), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        Report.read(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"expected a report in {tmp_path / 'report.json'}, got: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["cancer-mlp", "digits-cnn", "digits-cnn-robust", "imdb-cnn"])
def test_the_sample_reports_are_read(name: str, root: Path) -> None:
    assert Report.read(root / "reports" / name).model.name == name
