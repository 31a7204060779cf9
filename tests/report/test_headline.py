"""The top of a report: sentences, verdict and bracket as they follow from the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from xaibench.evaluate.hardness import CheckOutcome, SelfChecks
from xaibench.report import Report
from xaibench.report.headline import headline

OLD = Path(__file__).parent / "old"


@pytest.fixture
def report() -> Report:
    return Report.read(OLD / "v3")


def changed(report: Report, **values: Any) -> Report:
    """The report with another robustness section."""
    robustness = report.results.robustness
    assert robustness is not None
    results = report.results.model_copy(update={"robustness": robustness.model_copy(update=values)})
    return report.model_copy(update={"results": results})


def checks(*statuses: Literal["pass", "warning", "fail", "skipped"], verdict: Any) -> SelfChecks:
    names = ("units", "zero_gradients", "monotonicity")
    outcomes = zip(names, statuses, strict=False)
    return SelfChecks(
        verdict=verdict,
        outcomes=tuple(
            CheckOutcome(check=name, status=status, figure=None, limit=None, advice="") for name, status in outcomes
        ),
    )


def test_there_are_three_sentences_with_the_numbers_of_the_report(report: Report) -> None:
    clean, attacked, explained = headline(report).sentences
    assert clean == "factories:digits gets 83.3 % of 6 unchanged digits samples right (95 % interval 43.6 % to 97 %)."
    assert attacked.startswith("Under changes of at most 0.06 (L∞), ")
    assert "Saliency" in explained
    assert all(sentence.endswith(".") and "  " not in sentence for sentence in (clean, attacked, explained))


def test_the_parts_of_the_bracket_are_all_samples(report: Report) -> None:
    found = headline(report)
    robustness = report.results.robustness
    assert robustness is not None
    shares = {part.kind: part.share for part in found.bracket}
    assert sum(shares.values()) == pytest.approx(1)
    proved, left = robustness.bracket
    assert shares.get("held", 0) == pytest.approx(proved)
    assert shares.get("held", 0) + shares.get("open", 0) == pytest.approx(left)
    assert shares["wrong"] == pytest.approx(1 - report.results.clean.accuracy)


def test_nothing_is_called_proved_where_proofs_were_not_tried(report: Report) -> None:
    found = headline(changed(report, proved=None))
    assert "proved" not in found.sentences[1]
    assert {part.label for part in found.bracket if part.kind == "open"} <= {"not broken by any attack"}
    assert not any(part.kind == "held" for part in found.bracket)


@pytest.mark.parametrize(
    ("found", "verdict", "reason"),
    [
        (
            checks("pass", "pass", "skipped", verdict="reliable"),
            "reliable",
            "The robust accuracy can be taken at its word: all 2 self-checks that apply pass.",
        ),
        (
            checks("pass", "skipped", "skipped", verdict="doubtful"),
            "doubtful",
            "Most self-checks cannot be made here: 1 of 3 were, and pass.",
        ),
        (
            checks("warning", "fail", "pass", verdict="unreliable"),
            "unreliable",
            "Take the robust accuracy with care: Zero gradients fails, and 1 more.",
        ),
        (None, "not checked", "No self-checks were made of the robust accuracy."),
    ],
)
def test_the_verdict_comes_with_its_reason(report: Report, found: SelfChecks | None, verdict: str, reason: str) -> None:
    top = headline(changed(report, checks=found))
    assert (top.verdict, top.reason) == (verdict, reason)


def test_without_attacks_there_is_no_verdict_and_the_reason_is_said(report: Report) -> None:
    results = report.results.model_copy(update={"robustness": None})
    top = headline(report.model_copy(update={"results": results}))
    assert (top.verdict, top.bracket) == (None, ())
    assert top.sentences[1] == "How easily it is fooled was not measured: the plan has no attacks."
