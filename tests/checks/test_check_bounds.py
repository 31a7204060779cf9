"""What a check wants of its figure is said the way it is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from xaibench.checks import bound_of, checks
from xaibench.report import Report


@pytest.mark.parametrize("name", ["digits-cnn", "digits-cnn-robust", "cancer-mlp", "imdb-cnn"])
def test_figures_that_pass_keep_the_bound_that_is_told(root: Path, name: str) -> None:
    robustness = Report.read(root / "reports" / name).results.robustness
    assert robustness is not None
    assert robustness.checks is not None
    compared = [
        one
        for one in robustness.checks.outcomes
        if one.status == "pass" and one.figure is not None and one.limit is not None
    ]
    assert compared
    for one in compared:
        assert one.figure is not None
        assert one.limit is not None
        side, value = bound_of(one.check, one.limit).rsplit(" ", 1)
        assert value == f"{one.limit:.3g}"
        assert one.figure >= one.limit if side == "at least" else one.figure <= one.limit, one.check


def test_floors_are_those_of_figures_that_should_be_large() -> None:
    floors = {name for name in checks if bound_of(name, 1.0) == "at least 1"}
    assert floors == {"finite_differences", "planted_adversarials", "probabilities_not_logits", "units"}
