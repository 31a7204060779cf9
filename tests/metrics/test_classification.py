import json

import pytest
import torch
from sklearn import metrics as reference
from torch import Tensor

from xaibench.errors import InputError
from xaibench.metrics import area_under_curve, calibration_error, classification_metrics


def _example(classes: int, n: int = 300) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    labels = torch.randint(classes, (n,), generator=generator)
    logits = torch.randn(n, classes, generator=generator) + 1.2 * torch.eye(classes)[labels]
    return logits, labels


def _names(classes: int) -> list[str]:
    return [f"class {index}" for index in range(classes)]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_agrees_with_scikit_learn(classes: int) -> None:
    logits, labels = _example(classes)
    got = classification_metrics(logits, labels, _names(classes))
    probabilities, predicted = logits.double().softmax(1).numpy(), logits.argmax(1).numpy()
    precision, recall, f1, support = reference.precision_recall_fscore_support(labels, predicted, zero_division=0)
    assert got["n"] == 300
    assert got["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted), abs=1e-12)
    assert [got["precision"], got["recall"], got["f1"]] == pytest.approx([precision.mean(), recall.mean(), f1.mean()])
    assert [row["f1"] for row in got["per_class"]] == pytest.approx(list(f1))
    assert [row["support"] for row in got["per_class"]] == list(support)
    assert got["log_loss"] == pytest.approx(reference.log_loss(labels, probabilities), rel=1e-9)
    assert got["confusion_matrix"] == reference.confusion_matrix(labels, predicted).tolist()
    scores = probabilities[:, 1] if classes == 2 else probabilities
    assert got["auc"] == pytest.approx(reference.roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-9)
    json.dumps(got, allow_nan=False)


def test_a_class_that_does_not_occur_is_left_out_of_the_averages() -> None:
    logits, labels = _example(4)
    keep = labels != 2
    logits, labels = logits[keep], labels[keep]
    got = classification_metrics(logits, labels, _names(4))
    assert got["per_class"][2] == {"name": "class 2", "support": 0, "precision": None, "recall": None, "f1": None}
    macro = reference.f1_score(labels, logits.argmax(1), labels=[0, 1, 3], average="macro")
    assert got["f1"] == pytest.approx(macro)
    areas = [reference.roc_auc_score(labels == index, logits.double().softmax(1)[:, index]) for index in (0, 1, 3)]
    assert got["auc"] == pytest.approx(sum(areas) / 3, abs=1e-9)


def test_one_class_only_has_no_ranking() -> None:
    got = classification_metrics(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]), ["a", "b"])
    assert got["auc"] is None
    assert got["accuracy"] == 0.5
    assert got["precision"] == 1.0


def test_tied_scores_count_half() -> None:
    scores = torch.tensor([1.0, 1.0, 2.0, 2.0, 2.0, 3.0])
    positive = torch.tensor([False, True, False, True, True, False])
    assert area_under_curve(scores, positive) == pytest.approx(reference.roc_auc_score(positive, scores), abs=1e-12)


def test_calibration_error_by_hand() -> None:
    # Confidences 0.9, 0.9 (one right) and 0.6 (right): gaps |0.5 - 0.9| * 2/3 + |1 - 0.6| * 1/3.
    probabilities = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4]], dtype=torch.float64)
    assert calibration_error(probabilities, torch.tensor([0, 0, 0])) == pytest.approx(0.4, abs=1e-12)


def test_bins_are_closed_on_the_right() -> None:
    # 0.6 is the upper end of bin 9 of 15, and shares it with 0.58: one is right and one is wrong.
    probabilities = torch.tensor([[0.6, 0.4], [0.58, 0.42]], dtype=torch.float64)
    assert calibration_error(probabilities, torch.tensor([1, 0])) == pytest.approx(abs(1 - 0.6 - 0.58) / 2, abs=1e-12)


def test_a_calibrated_coin_has_no_calibration_error_at_the_edges() -> None:
    certain = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert calibration_error(certain, torch.tensor([0, 1])) == 0.0
    assert calibration_error(certain, torch.tensor([1, 0])) == 1.0


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), "at least one, got 0"),
        (torch.zeros(2, 3), torch.tensor([0]), "got 1"),
        (torch.zeros(2, 4), torch.tensor([0, 1]), r"\(n, 3\).*got \(2, 4\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"0\.\.2, got 0\.\.3"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), r"0\.\.2, got -1\.\.0"),
        (torch.full((2, 3), float("nan")), torch.tensor([0, 1]), "got NaN"),
    ],
)
def test_bad_input_is_one_clear_line(logits: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classification_metrics(logits, labels, ["a", "b", "c"])


@pytest.mark.parametrize("bins", [4, 15])
def test_every_interval_of_confidence_counts_by_itself(bins: int) -> None:
    confidence = (torch.arange(bins, dtype=torch.float64) + 0.5) / bins
    rest = 40
    probabilities = torch.cat(
        [confidence[:, None], ((1 - confidence) / rest)[:, None].expand(-1, rest).double()], dim=1
    )
    # Right and wrong by turns, so that the gaps of neighbours would cancel if they shared an interval.
    labels = torch.arange(bins) % 2
    gap = (labels == 0).double() - confidence
    assert torch.equal(probabilities.argmax(dim=1), torch.zeros(bins, dtype=torch.long))
    assert calibration_error(probabilities, labels, bins) == pytest.approx(float(gap.abs().mean()))
