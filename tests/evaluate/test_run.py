"""Running a plan: closed forms for robustness and explanations, every task, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import factories
import pytest
import torch
from torch import Tensor

from xaibench.attacks import attacks
from xaibench.data import load_data
from xaibench.errors import InputError
from xaibench.evaluate import Plan, evaluate_clean, run
from xaibench.evaluate.explained import choose_samples
from xaibench.evaluate.robustness import holds
from xaibench.metrics import wilson_interval
from xaibench.threats import Linf, threat
from xaibench.types import Classifier

DIGITS = Plan(model="factories:digits", data="digits", n=40, samples=3, checks=False, minimal=0, corruptions=0)


def test_the_curve_of_a_linear_model_is_its_closed_form() -> None:
    """For two classes and a linear model the worst perturbation of each feature is known, box included."""
    plan = Plan(model="factories:cancer", data="breast-cancer", n=60, samples=0, attacks=("fgsm",))
    evaluation = run(plan)
    model, data = factories.cancer(), load_data("breast-cancer", n=60)
    assert isinstance(data.inputs, Tensor)
    weight, bias = factories.ridge(load_data("breast-cancer", "train"))
    sign = 1.0 - 2.0 * data.labels.double()[:, None]
    slope = (weight[0] - weight[1]).double() * sign
    margin = data.inputs.double() @ (weight[0] - weight[1]).double() + (bias[0] - bias[1]).double()
    low, high = (limit.double() for limit in model.bounds.tensors(data.inputs))
    (curve,) = (curve for curve in evaluation.curves if curve.attack == "fgsm")
    for radius, robust in zip(evaluation.plan.curve or (), curve.robust, strict=True):
        reach = radius * (high - low)
        down = torch.minimum(reach, (data.inputs - low).clamp_min(0))
        up = torch.minimum(reach, (high - data.inputs).clamp_min(0))
        worst = margin * sign[:, 0] - torch.where(slope > 0, slope * down, -slope * up).sum(dim=1)
        assert robust == int((worst > 0).sum())


def test_curves_never_rise_and_the_worst_case_is_below_all() -> None:
    evaluation = run(DIGITS)
    robustness = evaluation.results.robustness
    assert robustness is not None
    *single, worst = evaluation.curves
    assert [curve.attack for curve in single] == ["fgsm", "pgd", "verdict"]
    for curve in evaluation.curves:
        assert list(curve.robust) == sorted(curve.robust, reverse=True)
        assert curve.robust[0] == round(evaluation.clean.accuracy * 40)
        assert curve.interval == tuple(wilson_interval(count, 40) for count in curve.robust)
    for position, count in enumerate(worst.robust):
        assert count <= min(curve.robust[position] for curve in single)
    assert worst.robust[robustness.index] < worst.robust[0]


def test_adversarial_examples_hold_when_checked_by_hand() -> None:
    evaluation = run(DIGITS.model_copy(update={"eps": 0.04}))
    model, found = factories.digits(), evaluation.adversarials
    clean_prediction = model.predict(found["inputs"])
    assert torch.equal(clean_prediction, found["predictions"])
    for index, attack in enumerate(DIGITS.attacks):
        x = found[f"adversarials/{attack}"]
        assert float(x.min()) >= 0
        assert float(x.max()) <= 1
        assert torch.equal(model.predict(x), found[f"predictions/{attack}"])
        robustness = evaluation.results.robustness
        assert robustness is not None
        for radius, robust in zip(robustness.radii, evaluation.curves[index].robust, strict=True):
            within = (x - found["inputs"]).flatten(1).abs().amax(dim=1) <= radius + 1e-6
            assert robust == int((~within | (found[f"predictions/{attack}"] == found["labels"])).sum())


def test_maps_of_a_linear_model_are_its_weights() -> None:
    evaluation = run(DIGITS)
    weight, _ = factories.ridge(load_data("digits", "train"))
    found = evaluation.adversarials
    for sample in evaluation.explanations:
        assert sample.label == sample.clean.prediction
        assert sample.attacked is not None
        for view, x in (
            (sample.clean, found["inputs"][sample.index]),
            (sample.attacked, found[f"adversarials/{sample.attack}"][sample.index]),
        ):
            saliency, gradients = view.maps
            row = weight[view.prediction].view(1, 8, 8)
            assert saliency.target == gradients.target == view.prediction
            torch.testing.assert_close(evaluation.attributions[saliency.key], row.abs())
            torch.testing.assert_close(evaluation.attributions[gradients.key], row * x, rtol=1e-4, atol=1e-5)
            assert gradients.completeness_gap == pytest.approx(0, abs=1e-4)
        assert sample.agreement["saliency"] == pytest.approx(1.0)
        assert sample.attacked.prediction != sample.label


def test_keras_and_torch_with_the_same_weights_give_the_same_report() -> None:
    torch_run, keras_run = run(DIGITS), run(DIGITS.model_copy(update={"model": "factories:digits_keras"}))
    assert keras_run.model.framework == "keras"
    assert keras_run.clean.confusion_matrix == torch_run.clean.confusion_matrix
    assert [curve.robust for curve in keras_run.curves] == [curve.robust for curve in torch_run.curves]
    assert "tensorflow" in keras_run.versions


def test_text_is_attacked_and_explained(tmp_path: Path) -> None:
    """A good and a bad word decide: one edit of each word turns a text of two words, and no other edit helps more."""
    table = factories.words_table(str(tmp_path / "texts.csv"))
    evaluation = run(Plan(model="factories:words", data=table, split="all", samples=2, attacks=("hotflip",)))
    robustness, model, found = evaluation.results.robustness, factories.words(), evaluation.adversarials
    assert robustness is not None
    assert (robustness.norm, robustness.unit) == ("words", "number of edited words")
    assert robustness.radii == (0, 1, 2, 4, 8)
    broken_at, changed = found["broken_at/hotflip"], (found["adversarials/hotflip"] != found["inputs"]).sum(dim=1)
    assert bool((broken_at < 5).any())
    assert all(
        edits <= robustness.radii[at] for edits, at in zip(changed.tolist(), broken_at.tolist(), strict=True) if at < 5
    )
    assert torch.equal(model.predict(found["adversarials/hotflip"]), found["predictions/hotflip"])
    assert evaluation.clean.accuracy == 1.0
    values = dict(zip(["", "[UNK]", *factories.GOOD, *factories.BAD, "film"], range(9), strict=True))
    for sample in evaluation.explanations:
        assert sample.tokens is not None
        assert sample.attacked_tokens is not None
        edits = sum(one != other for one, other in zip(sample.tokens, sample.attacked_tokens, strict=True))
        assert sample.distance == edits
        gradients = evaluation.attributions[sample.clean.maps[1].key]
        side = -1 if sample.clean.prediction else 1
        embedding = model.embed(torch.tensor([[values[sample.tokens[0]]] * 8]))[0, 0, 0]
        assert float(gradients[0]) == pytest.approx(side * float(embedding), rel=1e-4)


def test_what_a_model_cannot_do_is_said_with_its_reason() -> None:
    evaluation = run(DIGITS.model_copy(update={"model": "factories:digits_gradientless"}))
    missing = {item.what: item.reason for item in evaluation.results.not_measured}
    assert list(missing) == ["fgsm", "pgd", "saliency", "integrated_gradients"]
    assert all("they are kept secret" in reason for reason in missing.values())
    assert [curve.attack for curve in evaluation.curves] == ["verdict", "worst-case"]
    none = run(DIGITS.model_copy(update={"model": "factories:digits_gradientless", "attacks": ("pgd",)}))
    assert none.results.robustness is None
    assert "they are kept secret" in none.summary
    assert evaluation.clean.n == 40


def test_the_same_plan_gives_the_same_digest_and_another_seed_does_not() -> None:
    first, again = run(DIGITS), run(DIGITS)
    assert first.digest == again.digest
    assert first.results == again.results
    assert run(DIGITS.model_copy(update={"seed": 1})).digest != first.digest


def test_the_seed_reaches_the_attacks() -> None:
    """With all rows taken, the seed decides nothing but the random starts."""
    plan = Plan(model="factories:cancer", data="breast-cancer", n=10**6, attacks=("pgd:steps=1",), samples=0)
    first, other = run(plan), run(plan.model_copy(update={"seed": 1}))
    one, another = (
        evaluation.adversarials["adversarials/pgd:steps=1"][evaluation.adversarials["ids"].argsort()]
        for evaluation in (first, other)
    )
    assert not torch.equal(one, another)


def test_the_batch_size_does_not_change_the_numbers() -> None:
    whole, parts = run(DIGITS), run(DIGITS.model_copy(update={"batch_size": 7}))
    assert whole.curves == parts.curves
    assert whole.clean.confusion_matrix == parts.clean.confusion_matrix
    assert [sample.id for sample in whole.explanations] == [sample.id for sample in parts.explanations]


def test_more_samples_than_there_are_means_all() -> None:
    evaluation = run(Plan(model="factories:cancer", data="breast-cancer", attacks=(), explainers=(), n=10**6))
    assert evaluation.plan.n == evaluation.data.n == evaluation.clean.n == len(load_data("breast-cancer"))
    assert evaluation.results.not_measured[0].reason == "the plan has no attacks"


@dataclass(frozen=True, kw_only=True)
class Cheat:
    """Claims successes that leave the ball."""

    name: ClassVar[str] = "cheat"

    def __call__(self, model: Classifier, x: Tensor, y: Tensor, threat: Any, **_: Any) -> Tensor:
        return 1 - x


def test_successes_that_do_not_hold_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(attacks._classes, "cheat", Cheat)
    curve, _ = run(DIGITS.model_copy(update={"attacks": ("cheat",)})).curves
    assert set(curve.robust) == {curve.robust[0]}
    assert curve.rejected > 0


def test_holds_wants_finite_valid_near_and_misclassified() -> None:
    model = factories.digits()
    data = load_data("digits", n=30)
    assert isinstance(data.inputs, Tensor)
    x, y = data.inputs, model.predict(data.inputs)
    rows = attacks.create("fgsm")(model, x, y, Linf(0.2))
    broken = model.predict(rows) != y
    x, y, rows = x[broken][:4], y[broken][:4], rows[broken][:4].clone()
    wide = threat("linf", 0.2)
    assert holds(model, rows, x, y, wide).tolist() == [True] * 4
    rows[0, 0, 0, 0] = float("nan")
    rows[1] = x[1]
    rows[2, 0, 0, 0] = -0.05
    assert holds(model, rows, x, y, wide).tolist() == [False, False, False, True]
    assert not holds(model, rows, x, y, threat("linf", 0.01)).any()


def test_samples_are_broken_ones_first_and_classes_take_turns() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    predictions = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])
    broken = ["pgd", "pgd", None, "pgd", "pgd", None, None, None]
    chosen = choose_samples(predictions, labels, broken, count=8, seed=0)
    assert [labels[row].item() for row in chosen[:2]] in ([0, 1], [1, 0])
    assert set(chosen[:4]) == {0, 1, 3, 4}
    assert chosen[-1] == 7
    assert choose_samples(predictions, labels, broken, count=3, seed=0) == chosen[:3]
    assert any(choose_samples(predictions, labels, broken, count=8, seed=seed) != chosen for seed in range(1, 5))


def test_clean_evaluation_counts_right() -> None:
    model, data = factories.digits(), load_data("digits", n=50)
    seen: list[tuple[int, int]] = []
    metrics = evaluate_clean(
        model, data, batch_size=20, progress=lambda stage, done, total, info: seen.append((done, total))
    )
    assert metrics["accuracy"] == float((model.predict(data.inputs) == data.labels).double().mean())
    assert seen == [(20, 50), (40, 50), (50, 50)]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(model="no-such-model"), "no-such-model"),
        (Plan(model="factories:digits"), "expected `data`"),
        (Plan(model="factories:digits", data="digitz"), "digits"),
        (Plan(model="factories:digits", data="digits", split="dev"), "split"),
        (Plan(model="factories:digits", data="digits", eps=3.0), "size of the box"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(plan: Plan, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run(plan, out=tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(InputError, match="expected a folder"):
            run(DIGITS, out=out)
    assert (tmp_path / "out").read_text() == "mine"
