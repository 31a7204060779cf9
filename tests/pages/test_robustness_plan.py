"""How long a run takes, judged by an earlier one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xaibench.pages.robustness import launch, plan
from xaibench.pages.robustness.plan import PRESETS, Wanted, estimate, shape
from xaibench.report import Report

OLD = Path(__file__).parents[1] / "report" / "old" / "v3"


def test_the_same_run_takes_what_it_took_and_a_larger_one_more() -> None:
    before = Report.read(OLD)
    fields = ("proofs", "minimal", "corruptions", "samples", "assessed", "manipulated")
    same = replace(PRESETS["quick"], n=before.data.n, **{name: getattr(before.plan, name) for name in fields})
    wanted = Wanted(
        model="m", task="image", preset=same, n=before.data.n, norm="linf", eps=0.06, attack=before.plan.attacks[-1]
    )
    took = {stage: seconds for stage, seconds in before.timings.seconds.items() if ": " not in stage}
    assert estimate(wanted, before) == pytest.approx(plan._STARTING + sum(took.values()))
    attacks = sum(seconds for stage, seconds in took.items() if stage not in plan._STAGES)
    more = estimate(replace(wanted, n=3 * before.data.n), before)
    assert more == pytest.approx(plan._STARTING + sum(took.values()) + 2 * attacks)


def test_a_shape_has_the_stages_that_this_size_has() -> None:
    before = Report.read(OLD)
    nothing = replace(PRESETS["quick"], proofs=0, minimal=0, samples=0)
    wanted = Wanted(model="m", task="image", preset=nothing, n=10, norm="linf", eps=0.06, attack="fgsm")
    found = shape(wanted, before)
    assert not {"proofs", "minimal distances", "explain"} & found.keys()
    attack = before.plan.attacks[-1]
    assert found[attack] == pytest.approx(before.timings.seconds[attack] * 10 / before.data.n)
    assert list(found) == [stage for stage in before.timings.seconds if stage in found], "in their order"


@pytest.mark.parametrize(
    ("other", "taken"),
    [({}, True), ({"task": "tabular"}, False), ({"norm": "l2"}, False), ({"attacks": ("square",)}, False)],
)
@pytest.mark.parametrize("own", [True, False])
def test_a_run_is_judged_by_reports_of_its_kind_alone(
    monkeypatch: pytest.MonkeyPatch, other: dict[str, object], taken: bool, own: bool
) -> None:
    """The model's own report goes before those of others, and is of its task anyway."""
    whole = Report.read(OLD)
    wanted = Wanted(
        model="m", task="image", preset=PRESETS["quick"], n=10, norm="linf", eps=0.06, attack=whole.plan.attacks[-1]
    )
    found = whole.model_copy(
        update={
            "model": whole.model.model_copy(update={key: other[key] for key in other.keys() & {"task"}}),
            "plan": whole.plan.model_copy(update={key: other[key] for key in other.keys() - {"task"}}),
        }
    )
    monkeypatch.setattr(launch, "all_reports", lambda: [] if own else [found])
    before = found if own else None
    expected = [shape(wanted, found)] if taken or (own and "task" in other) else []
    assert launch._like(wanted, before) == expected
    assert (launch._expected(wanted, before) is not None) == bool(own and expected)
