"""The top of a report: sentences, verdict and bracket as they follow from the numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from xaibench.evaluate.hardness import CheckOutcome, Proved, SelfChecks
from xaibench.evaluate.headline import headline
from xaibench.evaluate.interpreted import Estimate, ExplanationCurve, MovedAt
from xaibench.reading import percent
from xaibench.report import Report

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
    top = headline(certain(changed(report, checks=found)))
    assert (top.verdict, top.reason) == (verdict, reason)


def certain(report: Report, ends: tuple[float, float] = (0.6, 0.7)) -> Report:
    """The report with these ends of all intervals of its robust accuracy."""
    robustness = report.results.robustness
    assert robustness is not None
    intervals = (ends,) * len(robustness.radii)
    return changed(report, worst_case=robustness.worst_case.model_copy(update={"interval": intervals}))


def test_few_samples_are_said_to_be_few_whatever_the_checks_say(report: Report) -> None:
    reason = headline(certain(changed(report, checks=checks("pass", verdict="reliable")), (0.095, 0.905))).reason
    assert reason == (
        "The self-check that applies passes. 6 samples are few: the robust accuracy may be anywhere from 9.5 % to"
        " 90.5 %."
    )


def test_a_model_that_is_wrong_unattacked_is_not_taken_at_its_word(report: Report) -> None:
    wrong = certain(changed(attacked(report, 50, 1, 0, None), checks=checks("pass", "pass", verdict="reliable")))
    reason = headline(wrong).reason
    assert reason == ("All 2 self-checks that apply pass. Unattacked, the model is already wrong on 49 of 50 samples.")


def test_what_is_broken_is_a_share_of_all_samples_as_in_the_bracket(report: Report) -> None:
    top = headline(attacked(report, 1000, 989, 634, None))
    lost = next(part.share for part in top.bracket if part.kind == "lost")
    assert f"attacks break {percent(lost)}, and 1.1 % were wrong before." in top.sentences[1]


def test_without_attacks_there_is_no_verdict_and_the_reason_is_said(report: Report) -> None:
    results = report.results.model_copy(update={"robustness": None})
    top = headline(report.model_copy(update={"results": results}))
    assert (top.verdict, top.bracket) == (None, ())
    assert top.sentences[1] == "How easily it is fooled was not measured: the plan has no attacks."


def attacked(report: Report, n: int, right: int, left: int, proved: int | None) -> Report:
    """The report with ``right`` of ``n`` samples right, ``left`` of them not broken, and ``proved`` of those proved."""
    robustness = report.results.robustness
    assert robustness is not None
    radii = len(robustness.radii)
    counts = [right, *[left] * (radii - 1)]
    worst = robustness.worst_case.model_copy(
        update={"robust": tuple(counts), "accuracy": tuple(count / n for count in counts)}
    )
    bound = None
    if proved is not None:
        bound = Proved(tried=n, count=(proved,) * radii, accuracy=(proved / n,) * radii, interval=((0.0, 1.0),) * radii)
    clean = report.results.clean.model_copy(update={"n": n, "accuracy": right / n})
    robustness = robustness.model_copy(update={"worst_case": worst, "proved": bound})
    results = report.results.model_copy(update={"clean": clean, "robustness": robustness})
    return report.model_copy(update={"results": results})


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((10, 10, 10, None), "at most 100 % stay right: attacks break none."),
        ((10, 10, 10, 0), "at most 100 % stay right: attacks break none."),
        ((10, 10, 10, 10), "exactly 100 % stay right: all that it had right are proved to stay right."),
        ((100, 99, 99, 99), "exactly 99 % stay right: all that it had right are proved to stay right."),
        (
            (100, 98, 49, 49),
            "exactly 49 % stay right: attacks break 49 %, and 2 % were wrong before,"
            " and all others are proved to stay right.",
        ),
        (
            (100, 98, 49, 20),
            "at least 20 % are proved to stay right and at most 49 % stay right:"
            " attacks break 49 %, and 2 % were wrong before.",
        ),
        ((100, 98, 49, None), "at most 49 % stay right: attacks break 49 %, and 2 % were wrong before."),
        ((10, 7, 0, None), "none stay right: attacks break all that it had right."),
        ((10, 7, 0, 0), "none stay right: attacks break all that it had right."),
        ((10, 0, 0, None), "none can stay right: it has none right to begin with."),
        ((10, 0, 0, 0), "none can stay right: it has none right to begin with."),
        ((1, 1, 1, 1), "exactly 100 % stay right: all that it had right are proved to stay right."),
        (
            (9999, 9999, 9998, None),
            "at most over 99.9 % stay right: attacks break under 0.1 %.",
        ),
    ],
)
def test_the_sentence_on_attacks_is_true_in_every_corner(
    report: Report, counts: tuple[int, int, int, int | None], said: str
) -> None:
    top = headline(attacked(report, *counts))
    assert top.sentences[1] == f"Under changes of at most 0.06 (L∞), {said}"
    assert sum(part.share for part in top.bracket) == pytest.approx(1)


def test_one_sample_is_no_samples(report: Report) -> None:
    top = headline(attacked(report, 1, 1, 1, None))
    assert "gets 100 % of 1 unchanged digits sample right" in top.sentences[0]
    assert top.caption.startswith("What becomes of 1 sample under")


def moved(report: Report, figures: dict[str, tuple[float, float, float]], n: int = 13) -> str:
    """The third sentence where maps kept these mean rank correlations within the radius, with their intervals."""
    robustness, found = report.results.robustness, report.results.interpretability
    assert robustness is not None
    assert found is not None
    curves = []
    for name, (mean, low, high) in figures.items():
        kept = Estimate(mean=mean, interval=(low, high) if n > 1 else None)
        elsewhere = Estimate(mean=0.123, interval=None)
        points = tuple(
            MovedAt(radius=robustness.eps * factor, n=n, figures={"rank_correlation": one})
            for factor, one in ((0.5, elsewhere), (1, kept), (2, elsewhere))
        )
        curves += [
            ExplanationCurve(explainer=name, cause="noise", points=points[:1]),
            ExplanationCurve(explainer=name, cause="attack", points=points),
        ]
    interpretability = found.model_copy(update={"curves": tuple(curves)})
    results = report.results.model_copy(update={"interpretability": interpretability})
    return headline(report.model_copy(update={"results": results})).sentences[2]


def test_an_explainer_changes_least_only_if_the_intervals_tell(report: Report) -> None:
    apart = moved(report, {"saliency": (0.5, 0.4, 0.6), "occlusion": (0.9, 0.8, 0.95)})
    assert "maps of Occlusion change least, with a mean rank correlation of 0.90 to those before (13 broken" in apart
    close = moved(report, {"saliency": (0.93, 0.7, 0.99), "occlusion": (0.9, 0.8, 0.95)})
    assert "change least, with" not in close
    assert "maps keep a mean rank correlation of 0.90 (Occlusion) to 0.93 (Saliency) with those before" in close
    assert "(13 broken samples, too few to tell which of them change least)" in close


def test_one_sample_has_no_mean_and_no_winner(report: Report) -> None:
    assert "maps of Saliency keep a rank correlation of 0.50 with those before (1 broken sample)." in moved(
        report, {"saliency": (0.5, 0.4, 0.6)}, n=1
    )
    assert "too few to tell" in moved(report, {"saliency": (0.1, 0, 0), "occlusion": (0.9, 0, 0)}, n=1)


def test_the_samples_shown_speak_where_no_more_were_compared() -> None:
    assert headline(Report.read(OLD / "v2")).sentences[2] == (
        "On the one broken sample shown, maps before and after have a rank correlation of 1.00 for Saliency."
    )
