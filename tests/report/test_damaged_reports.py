"""Reports whose parts contradict each other: refused when they are read, so that no reader comes to grief over them."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xaibench.errors import InputError
from xaibench.report import Report

Document = dict[str, Any]
OLD = Path(__file__).parent / "old" / "v3" / "report.json"


@pytest.fixture(scope="module")
def document() -> Document:
    return json.loads(OLD.read_text(encoding="utf-8"))


def robustness(document: Document) -> Document:
    return document["results"]["robustness"]


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
