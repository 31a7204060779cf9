"""What attacked is named wherever a figure rests on it, and explanations are shown after the attack on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from xaibench.cli import run as command
from xaibench.comparison import Comparison, Sizes, View, compare_names, write_comparison
from xaibench.comparison import compare as compared
from xaibench.comparison.attackers import under
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.evaluate import Plan
from xaibench.explainers import explain
from xaibench.manipulation import moved
from xaibench.zoo import load_model

SIZES = Sizes(assessed=0, manipulated=3, corruptions=0, samples=2, explainers=("saliency",))
NAMED = "under FGSM alone at L∞ ε = 0.12"


@pytest.fixture(scope="module")
def view() -> View:
    rest = {"explainers": (), "samples": 0, "proofs": 0, "checks": False, "corruptions": 0, "minimal": 3}
    plan = Plan(model="?", data="digits", n=20, seed=4, eps=0.12, curve=(), attacks=("fgsm",), **rest)
    return compare_names("factories:digits", "digits-cnn", plan, sizes=SIZES)


def test_every_figure_under_attack_names_its_attack(view: View, tmp_path: Path) -> None:
    found = view.comparison
    assert {(note.what, note.attack, note.eps, note.seeds) for note in found.attacks} == {
        ("accuracy", "fgsm", 0.12, (4, 4)),
        ("distances", "fmn", None, (4, 4)),
        ("transfer", "pgd", 0.12, (4, 4)),
        ("explanations", "top_k:steps=20", 0.12, (4, 4)),
    }
    assert {note.norm for note in found.attacks} == {"linf"}
    assert NAMED in found.verdict
    page = write_comparison(view, tmp_path).read_text(encoding="utf-8")
    assert page.count(NAMED) > 5
    assert "No ensemble attacked" in page
    assert "Robust accuracy: FGSM, L∞ ε = 0.12, seed 4." in page
    assert Comparison.model_validate_json((tmp_path / "compare.json").read_bytes()).attacks == found.attacks


def test_an_ensemble_reads_otherwise_and_names_its_parts(view: View) -> None:
    one = view.comparison.attacks[0].model_copy(update={"attack": "autoattack", "stages": (("apgd_ce",), ("square",))})
    found = view.comparison.model_copy(update={"attacks": (one,)})
    assert "alone" not in under(found)
    two = view.comparison.model_copy(update={"attacks": (one, *view.comparison.attacks)})
    assert under(two).startswith("under the worst of ")


def test_sides_that_were_attacked_by_other_means_are_refused(view: View) -> None:
    side = view.sides[1]
    robust = side.results.robustness
    assert robust is not None
    curves = tuple(curve.model_copy(update={"attack": "pgd"}) for curve in robust.curves)
    results = side.results.model_copy(update={"robustness": robust.model_copy(update={"curves": curves})})
    with pytest.raises(InputError, match=r"the same attacks on both, got fgsm \(.*\) and pgd \(digits-cnn\)"):
        compared(view.sides[0], replace(side, results=results))


def test_maps_after_the_attack_are_of_the_samples_beside_them(view: View, tmp_path: Path) -> None:
    maps = view.maps
    assert maps is not None
    data = load_data("digits", n=20, seed=4)
    assert isinstance(data.inputs, torch.Tensor)
    rows = list(maps.rows)
    for place, name in enumerate(("factories:digits", "digits-cnn")):
        before = explain(load_model(name), data.inputs[rows], data.labels[rows], method="saliency").values
        torch.testing.assert_close(maps.values[place]["saliency"], before)
        kept = moved(before, maps.moved[place]["saliency"]).top_k_overlap
        torch.testing.assert_close(maps.kept[place]["saliency"], kept)
    assert torch.equal(maps.moved[0]["saliency"], maps.values[0]["saliency"]), "a linear model's gradient stays"
    assert not torch.equal(maps.moved[1]["saliency"], maps.values[1]["saliency"])
    page = write_comparison(view, tmp_path).read_text(encoding="utf-8")
    assert page.count("Saliency, attacked<") == 2 * 2
    assert "100 % of top places kept" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_tables_in_text_say_what_they_are_of(capfd: pytest.CaptureFixture[str]) -> None:
    pair = ("compare", "factories:digits", "digits-cnn", "--data", "digits", "--n", "3", "--eps", "0.12")
    assert command([*pair, "--attack", "fgsm", "--quick"]) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert f"robust accuracy {NAMED}" in out
    assert f"samples of each class that are right {NAMED}" in out
    assert "0 0 0" not in out
    assert "Attack (accuracy): FGSM, L∞ ε = 0.12, seed 0" in out
