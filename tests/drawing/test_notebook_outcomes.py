"""Comparisons and attacks on one sample draw themselves in a notebook, by their own numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from small_models import token_net
from test_notebook import HOSTILE, drawn

from xaibench import Plan, load_data, load_model
from xaibench.attacks import attacks
from xaibench.comparison import Comparison, Sizes, View, compare_names
from xaibench.reading import percent
from xaibench.robustness import Strike, strike
from xaibench.threats import L2, Linf, Words


@pytest.fixture(scope="module")
def view() -> View:
    plan: dict[str, Any] = {"model": "?", "data": "digits", "n": 20, "eps": 0.12, "curve": (0.05,), "minimal": 0}
    plan |= {"attacks": ("fgsm",), "explainers": (), "samples": 0, "proofs": 0, "checks": False, "corruptions": 0}
    sizes = Sizes(assessed=0, manipulated=0, corruptions=1, samples=0)
    return compare_names("factories:digits", "digits-cnn", Plan(**plan), sizes=sizes)


@pytest.fixture
def found(view: View) -> Comparison:
    return view.comparison


def test_a_comparison_shows_its_verdict_bars_and_figures(view: View, found: Comparison) -> None:
    page = drawn(found)
    assert view._repr_html_() == found._repr_html_()
    assert found.verdict in page.text
    for test in found.tests:
        assert all(percent(share) in page.text for share in test.accuracy)
    robust = found.tests[1]
    for place in (0, 1):
        lost = found.tests[0].accuracy[place] - robust.accuracy[place]
        assert lost == 0 or f"{percent(lost)} broken by an attack" in page.text
    assert found.figures
    assert page.text.count("not shown") >= sum(figure.outcome == "not shown" for figure in found.figures)
    assert "No ensemble attacked" in page.text
    line = repr(found)
    assert f"{found.names[0]} → {found.names[1]} on 20 samples of digits" in line
    assert f"robust {percent(robust.accuracy[0])} → {percent(robust.accuracy[1])}" in line
    assert (str(found), repr(view)) == (line, f"View({line})")


def test_figures_that_differ_come_first_and_the_rest_are_counted(found: Comparison) -> None:
    figure = next(one for one in found.figures if one.p_value is not None)
    same = figure.model_copy(update={"p_value": 1.0, "adjusted": 1.0, "name": "alike"})
    other = figure.model_copy(update={"p_value": 1e-5, "adjusted": 1e-5, "name": "apart"})
    page = drawn(found.model_copy(update={"figures": (*[same] * 30, other)}))
    assert "The first 20 of 31 figures" in page.text
    assert page.text.index("apart") < page.text.index("alike")


def test_a_comparison_without_attacks_and_with_hostile_names(found: Comparison) -> None:
    bare = {"names": (HOSTILE, "b"), "within": None, "attacks": (), "tests": found.tests[:1], "figures": ()}
    page = drawn(found.model_copy(update=bare))
    assert HOSTILE in page.text
    assert f"{percent(found.tests[0].accuracy[0])} right" in page.text
    assert "broken" not in page.text.replace(found.verdict, "")


def struck(eps: float, target: int | None = None) -> Strike:
    model, x = load_model("digits-cnn"), load_data("digits", n=1).inputs
    label = int(model.predict(x))
    return strike(model, x, label, Linf(eps), attacks.create("pgd:steps=10"), target=target)  # type: ignore[arg-type]


def test_a_broken_image_is_shown_before_and_after_with_the_change() -> None:
    found = struck(0.3)
    assert found.broken
    page = drawn(found)
    before, after = int(found.before.argmax()), int(found.after.argmax())
    assert f"Class {before} taken for class {after} within L∞ 0.3" in page.text
    assert page.tags.count("img") == 3
    size = f"L∞ {float((found.found - found.x).abs().max()):.4g}"
    assert f"sees class {before}, {percent(float(found.before.max()))}, and after a change of {size} class" in page.text
    assert f"before: class {before}, {percent(float(found.before.max()))}" in page.text
    assert f"after: class {after}, {percent(float(found.after.max()))}" in page.text
    assert f"{found.trajectory.looks:,}" in page.text
    assert repr(found).startswith(f"Strike(class {before} taken for class {after} within L∞ 0.3; ")
    assert "limit" in drawn(replace(found, stopped=True)).text


def test_what_stands_is_said_to_stand() -> None:
    found = struck(0.001)
    page = drawn(found)
    assert f"Class {found.trajectory.label} not broken within L∞ 0.001" in page.text
    assert page.tags.count("img") == 1
    target = (found.trajectory.label + 1) % 10
    assert f"not broken as class {target} within" in drawn(struck(0.001, target)).text


def test_edited_words_are_marked_in_their_text() -> None:
    model, x = token_net(), torch.tensor([[3, 7, 12, 5, 9, 2, 4]])
    found = strike(model, x, int(model.predict(x)), Words(6), attacks.create("hotflip"))
    page = drawn(found)
    assert found.broken
    assert page.tags.count("ins") >= 1
    words = found.threat.vocabulary.words  # type: ignore[attr-defined]
    came = [words[new] for old, new in zip(x[0].tolist(), found.found[0].tolist(), strict=True) if old != new]
    assert all(word in page.text for word in came)
    assert f"after a change of {len(came)} word" in page.text


def test_features_that_moved_are_listed() -> None:
    model, data = load_model("cancer-mlp"), load_data("breast-cancer", n=1)
    label = int(model.predict(data.inputs))
    x = data.inputs
    assert isinstance(x, torch.Tensor)
    found = strike(model, x, label, L2(50.0), attacks.create("pgd:steps=5"))
    moved = int((found.found != found.x).sum())
    page = drawn(found)
    assert found.broken
    assert f"12 of {moved} features that moved, of 30 in all" in page.text
    most = int((found.found - found.x).abs().argmax())
    assert page.text.index(f"feature {most}") == page.text.index("feature ", page.text.index("taken"))
