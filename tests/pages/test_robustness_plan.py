"""How long a run takes, judged by an earlier one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from xaibench.pages.robustness import plan
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
