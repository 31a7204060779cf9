"""What all checks promise, and the verdict that they come to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from cases import along, case, plane
from factories import digits_gradientless
from small_models import inputs_for, table_mlp, token_net, torch_cnn

from xaibench.attacks.base import check_inputs
from xaibench.checks import Case, Outcome, Report, checks, examine
from xaibench.data import load_data
from xaibench.errors import UnsupportedError
from xaibench.registry import Spec
from xaibench.threats import L0, L1, L2, Linf, Threat, Words, threat

SKIPPED_FOR_TEXT = {
    "more_effort",
    "units",
    "finite_differences",
    "incomplete_optimisation",
    "monotonicity",
    "one_step_beats_many",
    "black_box_beats_white_box",
    "silent_success",
    "unbounded_attack",
    "unstable_gradients",
}


def outcome(status: Any) -> Outcome:
    return Outcome(check="any", status=status, figure=0.0, limit=0.0, advice="None.")


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ((), "reliable"),
        (("pass", "skipped"), "reliable"),
        (("pass", "skipped", "skipped"), "doubtful"),
        (("pass", "warning"), "doubtful"),
        (("warning", "fail", "pass"), "unreliable"),
    ],
)
def test_the_worst_outcome_decides(statuses: tuple[str, ...], verdict: str) -> None:
    report = Report(tuple(map(outcome, statuses)))
    assert report.verdict == verdict
    assert [found.status for found in report.fired] == [s for s in ("fail", "warning") if s in statuses]


@pytest.mark.parametrize("name", checks.names())
def test_a_check_is_data(name: str) -> None:
    made = checks.create(name)
    assert dataclasses.is_dataclass(made)
    assert checks.create(checks.spec(made)) == made
    assert "limit" in {field.name for field in dataclasses.fields(made)}, "thresholds are fields"
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.limit = 1  # type: ignore[attr-defined]


THREATS: list[Threat] = [Linf(0.05), L2(0.3), L1(1.0), L0(3)]


@pytest.mark.parametrize("ball", THREATS, ids=lambda ball: ball.norm)
def test_outcomes_say_what_was_found_in_one_sentence(ball: Threat) -> None:
    seen: list[tuple[str, int, int, Mapping[str, Any]]] = []
    looked_at = case(torch_cnn(), inputs_for(torch_cnn(), 8), ball)
    report = examine(looked_at, progress=lambda *step: seen.append(step))
    assert [found.check for found in report.outcomes] == [n for n in checks if not checks.get(n).thorough]  # type: ignore[attr-defined]
    assert seen[-1][1:3] == (len(report.outcomes), len(report.outcomes))
    for found in report.outcomes:
        assert found.advice.endswith(".")
        assert ". " not in found.advice
        assert found.figure is None or math.isfinite(found.figure)
        assert (found.figure is None) == (found.status == "skipped")
    assert report == examine(looked_at)


def test_thorough_makes_all_checks_and_some_on_more() -> None:
    few = case(plane(), along(torch.full((20,), 0.3)), Linf(0.01))
    everything = {found.check: found for found in examine(few, thorough=True).outcomes}
    assert tuple(everything) == checks.names()
    assert "of 20 samples" in everything["black_box_beats_white_box"].advice
    cheap = {found.check: found for found in examine(few).outcomes}
    assert "of 16 samples" in cheap["black_box_beats_white_box"].advice


def test_samples_are_drawn_by_their_ids() -> None:
    whole = case(plane(), along(torch.linspace(0.01, 0.4, 20)))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    other = replace(whole, x=whole.x[order], y=whole.y[order], ids=whole.ids[order])
    mask = torch.ones(20, dtype=torch.bool)
    chosen = whole.ids[whole.some(mask, 7)]
    assert len(chosen) == 7
    assert sorted(other.ids[other.some(mask, 7)].tolist()) == chosen.tolist()
    assert chosen.tolist() != whole.ids[replace(whole, seed=1).some(mask, 7)].tolist()


def test_without_standing_samples_their_checks_are_skipped() -> None:
    x = along(torch.full((4,), 0.09))
    report = examine(case(plane(), x, broken=x - 0.095))
    skipped = {found.check for found in report.outcomes if found.status == "skipped"}
    assert skipped == {
        "black_box_beats_white_box",
        "incomplete_optimisation",
        "more_effort",
        "one_step_beats_many",
        "silent_success",
    }
    assert [found.check for found in report.fired] == ["units"], "all four samples lie in one place"


def test_texts_have_no_ball() -> None:
    model = token_net()
    x, y, ids, words = check_inputs(model, inputs_for(model, 6), model.predict(inputs_for(model, 6)), Words(2), None)
    looked_at = replace(case(model, x, words), y=y, ids=ids)
    report = examine(looked_at)
    assert {found.check for found in report.outcomes if found.status == "skipped"} == SKIPPED_FOR_TEXT
    assert report.verdict == "doubtful", "most of what could be asked was not"


def test_a_model_without_gradients_is_doubtful() -> None:
    model, data = digits_gradientless(), load_data("digits", n=4)
    assert isinstance(data.inputs, torch.Tensor)
    report = examine(case(model, data.inputs, Linf(0.001)))
    (fired,) = report.fired
    assert (fired.check, fired.status) == ("zero_gradients", "warning")
    assert "they are kept secret" in fired.advice


def test_rules_of_tables_are_no_plain_balls() -> None:
    model = table_mlp()
    scale = model.bounds.span
    ruled = threat("linf", 0.1, scale, immutable=[0])  # type: ignore[arg-type]
    looked_at: Case = case(model, inputs_for(model, 4), ruled)
    for name in ("unbounded_attack", "monotonicity", "silent_success"):
        with pytest.raises(UnsupportedError):
            checks.create(Spec(name))(looked_at)
