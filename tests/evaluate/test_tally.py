"""Counts and tables from what was found for each sample, against numbers counted by hand."""

from __future__ import annotations

import pytest
import torch

from xaibench.evaluate import Plan
from xaibench.evaluate.minimal import distances_of
from xaibench.evaluate.tally import Effort, tally, worst_case
from xaibench.metrics import wilson_interval
from xaibench.threats import Linf

PLAN = Plan(model="m", data="d", eps=0.2, curve=(0.0, 0.1, 0.2, 0.3), attacks=("fgsm", "verdict"))

# Six samples of two classes; the last is wrong from the start. Radii by position: 0, 1, 2 (eps), 3; 4 for none.
FOUND = {
    "labels": torch.tensor([0, 0, 0, 1, 1, 1]),
    "predictions": torch.tensor([0, 0, 0, 1, 1, 0]),
    "inputs": torch.zeros(6, 1),
    "broken_at/fgsm": torch.tensor([1, 3, 4, 2, 4, 0]),
    "adversarials/fgsm": torch.tensor([[0.1], [0.3], [0.0], [0.2], [0.0], [0.0]]),
    "predictions/fgsm": torch.tensor([1, 1, 0, 0, 1, 0]),
    "broken_at/verdict": torch.tensor([1, 2, 3, 4, 4, 0]),
    "adversarials/verdict": torch.tensor([[-0.1], [-0.2], [-0.3], [0.0], [0.0], [0.0]]),
    "predictions/verdict": torch.tensor([1, 1, 1, 1, 1, 0]),
    "stages/verdict": torch.tensor([0, 1, 1, -1, -1, -1]),
    "proved_at": torch.tensor([0, 0, 0, 0, 2, -1]),
}
EFFORTS = {"fgsm": [Effort(stage="fgsm", rejected=3)], "verdict": [Effort(stage="a"), Effort(stage="b", note="why")]}


def test_the_worst_case_is_the_earliest_break_and_the_first_attack_of_several() -> None:
    worst = worst_case(PLAN, FOUND)
    assert worst.broken_at.tolist() == [1, 2, 3, 2, 4, 0]
    assert worst.which.tolist()[:4] == [0, 1, 1, 0]
    assert worst.adversarials.flatten().tolist() == pytest.approx([0.1, -0.2, 0.0, 0.2, 0.0, 0.0])
    assert worst.predictions.tolist() == [1, 1, 0, 0, 1, 0]


def test_tables_are_as_counted_by_hand() -> None:
    found = tally(PLAN, "tabular", ("no", "yes"), FOUND, EFFORTS, tried=2, unproved=None)
    assert [curve.robust for curve in found.curves] == [(5, 4, 3, 2), (5, 4, 3, 2)]
    assert found.worst_case.robust == (5, 4, 2, 1)
    assert found.curves[0].rejected == 3
    first, second = found.attacks
    assert (first.broken, first.gain, first.stages) == (2, 2, ())
    assert (second.broken, second.gain) == (2, 1)
    assert [(one.stage, one.broken, one.gain, one.note) for one in second.stages] == [
        ("a", 1, 0, None),
        ("b", 1, 1, "why"),
    ]
    assert found.proved is not None
    assert found.proved.count == (5, 1, 1, 0)
    assert found.bracket == (1 / 6, 2 / 6)
    no, yes = found.per_class
    assert (no.support, no.correct, no.robust, no.proved) == (3, 3, 1, 0)
    assert (yes.support, yes.correct, yes.robust, yes.proved) == (3, 2, 1, 1)
    assert yes.interval == wilson_interval(1, 3)
    assert found.confusion_matrix == ((1, 2), (2, 1))


def test_distances_count_what_was_not_found_as_beyond_all() -> None:
    clean = torch.zeros(4, 2)
    examples = torch.tensor([[0.1, 0.0], [0.0, 0.0], [0.0, -0.3], [0.2, 0.2]])
    found = distances_of(Linf(1.0), clean, examples)
    assert (found.n, found.found) == (4, 3)
    assert found.distances[1] is None
    assert found.median == pytest.approx((0.2 + 0.3) / 2)
    assert sum(found.counts) == 3
    assert found.counts[-1] == 1
    assert distances_of(Linf(1.0), clean[:1], clean[:1]).median is None
