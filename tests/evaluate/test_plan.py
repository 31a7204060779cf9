"""Plans: what they refuse, how they survive JSON, and how open fields are settled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import factories
import pytest

from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.evaluate import Plan
from xaibench.evaluate.settle import customary_curve, settle


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": ""}, "`model`"),
        ({"n": 0}, "`n`"),
        ({"seed": -1}, "`seed`"),
        ({"norm": "l3"}, "`norm`"),
        ({"eps": 0.0}, "`eps`"),
        ({"eps": -0.1}, "`eps`"),
        ({"eps": float("nan")}, "`eps`"),
        ({"samples": -1}, "`samples`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"curve": (-0.1,)}, "`curve`"),
        ({"attacks": ("pgdd",)}, "did you mean 'pgd'"),
        ({"attacks": ("pgd:step=3",)}, "parameter"),
        ({"attacks": ("pgd:steps=0",)}, "`steps` >= 1"),
        ({"attacks": ("pgd", "pgd")}, "once"),
        ({"explainers": ("salience",)}, "did you mean 'saliency'"),
        ({"epsilon": 0.1}, "unknown key `epsilon`"),
    ],
)
def test_bad_plans_are_refused_in_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        Plan(**{"model": "digits-cnn", **values})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plan_survives_json(tmp_path: Path) -> None:
    plan = Plan(model="m", eps=8 / 255, curve=(0.1, 0.2), attacks=("pgd:steps=3",))
    path = tmp_path / "plan.json"
    path.write_text(plan.model_dump_json())
    assert Plan.read(path) == plan


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model": "m", "colour": 1}'])
def test_a_bad_plan_file_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"^[^\n]*$"):
        Plan.read(path)


def test_open_fields_are_settled() -> None:
    model, data = factories.digits(), load_data("digits", n=5)
    plan = settle(Plan(model="m", data="digits", n=5), model, data)
    assert (plan.eps, plan.curve) == (0.1, (0.0, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2))
    assert settle(plan, model, data) == plan
    assert json.loads(plan.model_dump_json())["data"] == "digits"


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", "l0"])
def test_every_norm_has_a_customary_radius_inside_its_curve(norm: Any) -> None:
    plan = settle(Plan(model="m", data="digits", norm=norm), factories.digits(), load_data("digits", n=5))
    assert plan.eps in (plan.curve or ())
    assert len(plan.curve or ()) == len({0.0, plan.eps, *customary_curve(norm, plan.eps or 0)})


def test_a_given_curve_gains_zero_and_eps() -> None:
    plan = Plan(model="m", data="digits", eps=0.2, curve=(0.3, 0.1))
    assert settle(plan, factories.digits(), load_data("digits", n=5)).curve == (0.0, 0.1, 0.2, 0.3)


@pytest.mark.parametrize("values", [{"eps": 1.5}, {"eps": 0.1, "curve": (2.0,)}])
def test_a_radius_beyond_the_box_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="size of the box"):
        settle(Plan(model="m", data="digits", **values), factories.digits(), load_data("digits", n=5))
