"""The interpretability stage against a linear model, where every map is known, and against what it is made of."""

from __future__ import annotations

from pathlib import Path

import factories
import pytest
import torch
from torch import Tensor

from xaibench.data import load_data
from xaibench.evaluate import Evaluation, Plan, run
from xaibench.evaluate.interpreted import ExplanationCurve, Interpretability
from xaibench.explainers import explain
from xaibench.manipulation import moved
from xaibench.quality import assess
from xaibench.rng import permutation
from xaibench.threats import Linf, contains

PLAN = Plan(
    model="factories:digits",
    data="digits",
    n=30,
    attacks=("fgsm", "pgd:steps=3"),
    explainers=("saliency:absolute=false", "input_x_gradient"),
    eps=0.08,
    curve=(0.02, 0.2),
    samples=2,
    proofs=0,
    minimal=0,
    corruptions=0,
    checks=False,
    assessed=12,
    compared=7,
    manipulated=5,
)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return run(PLAN)


@pytest.fixture(scope="module")
def found(evaluation: Evaluation) -> Interpretability:
    assert evaluation.results.interpretability is not None
    return evaluation.results.interpretability


def curve(found: Interpretability, explainer: str, cause: str) -> ExplanationCurve:
    return next(one for one in found.curves if (one.explainer, one.cause) == (explainer, cause))


def test_every_explainer_has_a_curve_for_every_cause(found: Interpretability) -> None:
    expected = {(spec, cause) for spec in PLAN.explainers for cause in ("attack", "noise", "manipulation")}
    assert {(one.explainer, one.cause) for one in found.curves} == expected
    assert [point.radius for point in curve(found, "input_x_gradient", "manipulation").points] == [0.02, 0.08]


def test_the_gradient_of_a_linear_model_is_left_as_it_is_by_everything(found: Interpretability) -> None:
    for cause in ("attack", "noise", "manipulation"):
        for point in curve(found, "saliency:absolute=false", cause).points:
            kept = {name: one.mean for name, one in point.figures.items()}
            stays = {"rank_correlation": 1.0, "top_k_overlap": 1.0, "similarity": 1.0, "centre_shift": 0.0}
            assert kept == pytest.approx(stays, abs=1e-6)


def test_samples_join_as_the_radius_reaches_their_example(evaluation: Evaluation, found: Interpretability) -> None:
    """Input times gradient of a linear model is its weights times the input: the curve is found again by hand."""
    model, data, tensors = factories.digits(), load_data("digits", n=30), evaluation.adversarials
    weight = model.module[1].weight.detach().view(10, 1, 8, 8)  # type: ignore[attr-defined]
    radii = evaluation.plan.curve or ()
    at = torch.stack([tensors["broken_at/fgsm"], tensors["broken_at/pgd:steps=3"]])
    broken_at, which = at.min(dim=0)
    order = permutation(30, PLAN.seed, "interpretability")
    rows = [row for row in order.tolist() if 0 < broken_at[row] < len(radii)][: PLAN.compared]
    examples = [tensors[f"adversarials/{PLAN.attacks[which[row]]}"][row] for row in rows]
    own = weight[tensors["predictions"][rows]]
    assert isinstance(data.inputs, Tensor)
    figures = moved(own * data.inputs[rows], own * torch.stack(examples)).figures()
    points = curve(found, "input_x_gradient", "attack").points
    assert len(rows) == PLAN.compared
    assert [point.n for point in points] == [
        count for place in range(1, len(radii)) if (count := int((broken_at[rows] <= place).sum()))
    ]
    for point in points:
        within = broken_at[rows] <= radii.index(point.radius)
        for name, one in point.figures.items():
            assert one.mean == pytest.approx(float(figures[name][within].mean()), abs=1e-4)
            assert (one.interval is None) == (point.n == 1)
            assert one.ends[0] <= one.mean <= one.ends[1]


def test_what_moves_maps_lies_in_its_ball_is_of_the_same_class_and_moves_them_more_as_it_grows(
    evaluation: Evaluation, found: Interpretability
) -> None:
    model, rows = factories.digits(), permutation(30, PLAN.seed, "interpretability")[:5]
    inputs = evaluation.adversarials["manipulated/input_x_gradient"]
    clean = evaluation.adversarials["inputs"][rows]
    for radius, points in zip((0.02, 0.08), inputs, strict=True):
        assert bool(contains(Linf(radius), points, clean, model.bounds).all())
        assert torch.equal(model.predict(points), model.predict(clean))
    left = {
        cause: [point.figures["top_k_overlap"].mean for point in curve(found, "input_x_gradient", cause).points]
        for cause in ("noise", "manipulation")
    }
    assert left["manipulation"][1] <= left["manipulation"][0] < 1
    assert left["manipulation"][1] < left["noise"][1]


def test_trust_agreement_and_quality_are_those_of_the_samples_assessed(found: Interpretability) -> None:
    model, data = factories.digits(), load_data("digits", n=30)
    assert isinstance(data.inputs, Tensor)
    x = data.inputs[permutation(30, PLAN.seed, "interpretability")[:12]]
    for row in found.trust:
        trust = explain(model, x, method=row.explainer).trust
        assert (row.verdict, row.reason) == (trust.verdict, trust.reason)
        assert trust.stability is not None
        assert row.stability == pytest.approx(float(trust.stability.mean()), abs=1e-5)
        assert sum(row.verdicts.values()) == 12
    assert found.assessed == 12
    assert found.agreement[0][1] == found.agreement[1][0] < found.agreement[0][0] == pytest.approx(1.0)
    scores = assess(model, x, PLAN.explainers)
    for metric in found.quality:
        for one in metric.scores:
            expected = scores.score(one.explainer, metric.metric)
            assert expected is not None
            assert one.score is not None
            assert one.score.mean == pytest.approx(expected.mean, abs=1e-5)


def test_explanations_of_texts_are_compared_and_not_attacked(tmp_path: Path) -> None:
    table = factories.words_table(str(tmp_path / "texts.csv"))
    plan = {"model": "factories:words", "data": table, "split": "all", "samples": 1}
    result = run(Plan(**plan, explainers=("input_x_gradient",), manipulated=2))
    assert run(Plan(**plan, explainers=("saliency",))).plan.manipulated == 0
    found = result.results.interpretability
    assert found is not None
    assert {one.cause for one in found.curves} == {"attack"}
    assert {"rank_correlation", "top_k_overlap"} == found.curves[0].points[0].figures.keys()
    reasons = {item.what: item.reason for item in result.results.not_measured}
    assert "no ball around them" in reasons["attacks on explanations"]
    assert not any(name.startswith("manipulated/") for name in result.adversarials)


def test_without_attacks_only_trust_and_quality_are_left() -> None:
    found = run(Plan(**{**PLAN.model_dump(), "attacks": (), "eps": None, "curve": None})).results.interpretability
    assert found is not None
    assert found.curves == ()
    assert len(found.trust) == len(found.quality[0].scores) == 2


@pytest.mark.parametrize("change", [{"assessed": 0}, {"explainers": ()}])
def test_what_is_not_asked_for_is_not_measured(change: dict[str, object]) -> None:
    result = run(Plan(**{**PLAN.model_dump(), **change}))
    assert result.results.interpretability is None
    assert not any(name.startswith("manipulated/") for name in result.adversarials)


def test_explainers_that_the_model_refuses_are_named_once() -> None:
    result = run(
        Plan(**{**PLAN.model_dump(), "model": "factories:digits_gradientless", "attacks": ("square:queries=5",)})
    )
    found = result.results.interpretability
    assert found is not None
    assert found.explainers == found.trust == found.curves == ()
    refused = [item.what for item in result.results.not_measured if item.what in PLAN.explainers]
    assert sorted(refused) == sorted(PLAN.explainers)
