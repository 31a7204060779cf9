"""Specs as text: what is written is read again, also a spec within a spec."""

from __future__ import annotations

from typing import Any

import pytest

from xaibench.errors import InputError
from xaibench.registry import Spec
from xaibench.training.objectives import objectives
from xaibench.training.recipe import Recipe


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"steps": 20, "eps": 0.5, "random_start": False, "step_size": None},
        {"objective": "trades:beta=3,steps=2", "gamma": 0.01},
        {"objective": 'awp:objective="trades:beta=3,steps=2",gamma=0.01'},
        {"architecture": "small_cnn:width=8"},
        {"input_shape": [1, 8, 8], "groups": [[1, 2], [3]], "words": ["a,b", "c]"]},
        {"text": "8/255"},
        {"text": "true"},
        {"text": "3"},
        {"text": '"quoted"'},
        {"text": 'half"quoted, twice'},
        {"text": ""},
        {"text": "[a, b]"},
        {"text": "[a, b"},
        {"text": " spaces, at both ends "},
        {"text": "größer, als"},
    ],
)
def test_what_is_written_is_read_again(params: dict[str, Any]) -> None:
    assert Spec.parse(str(Spec("method", params))) == Spec("method", params)


def test_a_spec_within_a_spec() -> None:
    spec = Spec.parse('awp:objective="trades:beta=3,steps=2", gamma=0.01')
    assert spec.params == {"objective": "trades:beta=3,steps=2", "gamma": 0.01}
    inner = objectives.create(spec)._inner  # type: ignore[attr-defined]  # of awp
    assert (inner.beta, inner.steps) == (3, 2)
    assert str(spec) == 'awp:objective="trades:beta=3,steps=2",gamma=0.01'


def test_the_objective_of_a_shipped_recipe_can_be_said_on_the_command_line(request: pytest.FixtureRequest) -> None:
    recipe = Recipe.read(request.config.rootpath / "recipes" / "cifar10-resnet18-robust-gpu.toml")
    spec = Spec(recipe.objective.name, recipe.objective.params)
    assert "," in spec.params["objective"]
    assert Spec.parse(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pgd:steps", "expected key=value after 'pgd', got 'steps'"),
        ("pgd:steps=3,fast,eps=2", "expected key=value after 'pgd', got 'fast'"),
        ("awp:objective=trades:beta=3,steps=2,steps=4", "expected 'steps' once"),
    ],
)
def test_what_is_no_spec_is_said(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Spec.parse(text)
