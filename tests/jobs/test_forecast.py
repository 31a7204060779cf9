"""What is left of a run: a pace times what is to come, wide where other models tell it, a bound where it drags."""

from __future__ import annotations

import pytest

from xaibench.cli.stages import Stage
from xaibench.jobs.forecast import Forecast, ahead, forecast

SHAPE = {"clean": 0.1, "fgsm": 1.0, "pgd": 3.0, "verdict": 10.0, "proofs": 6.0}


def stages(*ran: tuple[str, float, bool], base: int = 0) -> list[Stage]:
    """Stages one after the other from moment 0, each with its seconds and whether it is done."""
    found, began = [], 0.0
    for name, seconds, done in ran:
        found.append(Stage(name, int(done), 1, "", base, began, began + (seconds if done else 0.0)))
        began += seconds
    return found


HALF = (("clean", 5.0, True), ("fgsm", 2.0, True), ("pgd", 6.0, True), ("verdict", 4.0, False))


def test_the_same_model_at_half_the_pace() -> None:
    found = forecast(stages(*HALF), [SHAPE], others=False, now=17.0)
    assert found == Forecast(low=2 * 10 - 4 + 2 * 6, high=2 * 10 - 4 + 2 * 6)


def test_other_models_give_a_wide_range_over_all_of_them() -> None:
    quick = {**SHAPE, "verdict": 1.0, "corruptions": 1.0}
    found = forecast(stages(*HALF), [SHAPE, quick], others=True, now=17.0)
    assert found is not None
    assert found.low == pytest.approx((2 * 6 + 2 * 1) / 2.5)  # of the quick one, whose verdict would be over
    assert found.high == pytest.approx(2.5 * 2 * (10 + 6) - 4)
    assert not found.is_least, "to one of them it does not take too long"


def test_a_stage_that_drags_leaves_a_lower_bound() -> None:
    found = forecast(stages(*HALF), [SHAPE], others=False, now=40.0)
    assert found == Forecast(low=12.0, high=12.0, is_least=True)


def test_finished_units_tell_what_is_left_of_a_stage() -> None:
    verdict = Stage("verdict", 1, 3, "", 0, 13.0, 33.0)
    found = forecast([*stages(*HALF[:3]), verdict], [SHAPE], others=False, now=43.0)
    assert found == Forecast(low=2 * 20 - 10 + 12, high=42.0)


@pytest.mark.parametrize("now", [73.1, 300.0, 3000.0])
@pytest.mark.parametrize(("shape", "rest"), [(SHAPE, 12.0), ({**SHAPE, "proofs": 0.0}, 0.0)])
def test_a_stage_that_drags_after_its_first_units_leaves_a_lower_bound(
    now: float, shape: dict[str, float], rest: float
) -> None:
    verdict = Stage("verdict", 1, 3, "", 0, 13.0, 33.0)
    found = forecast([*stages(*HALF[:3]), verdict], [shape], others=False, now=now)
    assert found == Forecast(low=rest, high=rest, is_least=True)


def test_stages_that_were_passed_over_are_not_waited_for() -> None:
    ran = (*HALF[:3], ("proofs", 3.0, False))
    assert ahead(stages(*ran), SHAPE) == ()
    assert ahead(stages(*HALF), SHAPE) == ("proofs",)
    assert ahead([], SHAPE) == tuple(SHAPE)
    found = forecast(stages(*ran), [SHAPE], others=False, now=16.0)
    assert found == Forecast(low=12.0 - 3.0, high=9.0)


@pytest.mark.parametrize(
    "ran",
    [
        [],
        [("clean", 5.0, True)],
        [("clean", 5.0, True), ("fgsm", 0.1, True), ("pgd", 0.05, True)],
        [("clean", 5.0, True), ("fgsm", 8.0, True), ("pgd", 3.0, False)],
        [("clean", 5.0, True), ("other", 9.0, True)],
        [("clean", 5.0, True), ("fgsm", 9.0, False)],
    ],
)
def test_no_pace_is_known_before_a_stage_has_told(ran: list[tuple[str, float, bool]]) -> None:
    assert forecast(stages(*ran), [SHAPE], others=False, now=20.0) is None


def test_a_long_stage_tells_the_pace_alone() -> None:
    found = forecast(stages(("clean", 5.0, True), ("verdict", 30.0, True)), [SHAPE], others=False, now=35.0)
    assert found == Forecast(low=18.0, high=18.0)


def test_stages_of_an_interrupted_run_tell_no_pace() -> None:
    assert forecast(stages(*HALF, base=1), [SHAPE], others=False, now=17.0) is None


QUICK = {
    "digits-cnn": {"fgsm": 0.34, "pgd": 0.49, "verdict": 5.47, "proofs": 4.57, "minimal": 1.3, "corrupt": 0.13},
    "digits-cnn-robust": {"fgsm": 0.1, "pgd": 0.42, "verdict": 4.04, "proofs": 1.08, "minimal": 0.48, "corrupt": 0.06},
    "cifar10-resnet": {"fgsm": 3.28, "pgd": 6.08, "verdict": 27.07, "minimal": 6.91, "corrupt": 1.71, "explain": 10.31},
    "cancer-mlp": {"fgsm": 0.1, "pgd": 0.14, "verdict": 2.62, "proofs": 2.74, "minimal": 0.55, "explain": 0.03},
}
"""Seconds of stages of measured reports, as the pages would put them for 50 samples."""


@pytest.mark.parametrize("name", QUICK)
def test_ranges_by_other_models_hold_what_the_measured_ones_took(name: str) -> None:
    own, others = QUICK[name], [shape for other, shape in QUICK.items() if other != name]
    for after in ("pgd", "verdict"):
        done = list(own)[: list(own).index(after) + 1]
        ran = stages(("clean", 3.0, True), *((stage, own[stage], True) for stage in done))
        found = forecast(ran, others, others=True, now=ran[-1].changed)
        assert found is not None
        rest = sum(own.values()) - sum(own[stage] for stage in done)
        assert found.low <= rest <= found.high


def test_only_a_stage_that_drags_beside_all_of_them_leaves_a_lower_bound() -> None:
    quick = {**SHAPE, "verdict": 1.0}
    found = forecast(stages(*HALF), [SHAPE, quick], others=True, now=21.0)
    assert found is not None
    assert not found.is_least


def test_what_other_models_take_may_be_much_less() -> None:
    found = forecast(stages(*HALF), [SHAPE], others=True, now=17.0)
    assert found is not None
    assert found.low == pytest.approx(2 * 6 / 2.5 + 2 * 10 / 2.5 - 4)
