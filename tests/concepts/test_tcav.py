"""TCAV on planted directions, on random concepts for its level, on evidence that is known, and on what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xaibench.classifiers import TorchClassifier
from xaibench.concepts import concept_direction, tcav
from xaibench.concepts.tcav import _corrected, _paired_test
from xaibench.errors import InputError, UnsupportedError
from xaibench.types import Classifier

D = 8
PLANTED = torch.tensor([0.0, 3.0, 0.0, 0.0, -4.0, 0.0, 0.0, 0.0]) / 5


def _net() -> Classifier:
    """Hidden units equal to the features; the logit of class 0 rises along ``PLANTED``, that of class 1 falls."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(D, D), nn.Linear(D, 2)
            with torch.no_grad():
                self.hidden.weight.copy_(torch.eye(D))
                self.hidden.bias.zero_()
                self.head.weight.copy_(torch.stack([PLANTED, -PLANTED]))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.hidden(x))

    return TorchClassifier(Net(), task="tabular", input_shape=(D,), bounds=(-9, 9))


def _features(n: int, seed: int) -> Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed)).clamp(-4, 4)


def test_a_planted_direction_is_found() -> None:
    model, x = _net(), _features(30, 0)
    concepts = {"planted": _features(200, 1) + 3 * PLANTED, "opposite": _features(200, 2) - 3 * PLANTED}
    found = tcav(model, concepts, x, 0, "hidden", random_inputs=_features(400, 3))
    assert (found.n, found.runs, found.size, found.target) == (30, 20, 10, 0)
    planted, opposite = found.scores
    assert (planted.concept, opposite.concept) == ("planted", "opposite")
    assert planted.scores == (1.0,) * 20
    assert opposite.scores == (0.0,) * 20
    for score in found.scores:
        assert score.p_adjusted < 0.01
        assert score.significant
        assert score.accuracy > 0.8
    # Two tests: the smaller p-value counts twice.
    assert min(score.p_adjusted for score in found.scores) == pytest.approx(2 * min(s.p_value for s in found.scores))
    other = tcav(model, concepts, x, 1, "hidden", random_inputs=_features(400, 3))
    assert other.of("planted", "hidden").scores == (0.0,) * 20
    with pytest.raises(InputError, match="did you mean 'planted at hidden'"):
        other.of("plantd", "hidden")


def test_random_concepts_are_significant_at_the_nominal_rate() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(D, 12), nn.ReLU(), nn.Linear(12, 3))
    model = TorchClassifier(module, task="tabular", input_shape=(D,), bounds=(-9, 9))
    repeats, p_values, accuracy = 120, [], []
    for seed in range(repeats):
        pool = _features(280, 1000 + seed)
        (score,) = tcav(
            model, pool[:60], pool[60:100], seed % 3, "1", random_inputs=pool[100:], runs=10, seed=seed
        ).scores
        p_values.append(score.p_value)
        accuracy.append(score.accuracy)
    # Four standard errors; the test that takes runs of one set of images as independent rejects a quarter.
    for level in (0.05, 0.2, 0.5):
        rate = sum(p < level for p in p_values) / repeats
        assert abs(rate - level) < 4 * (level * (1 - level) / repeats) ** 0.5
    assert abs(sum(accuracy) / repeats - 0.5) < 0.05


def test_classes_of_known_evidence_lean_on_their_shape_and_texture() -> None:
    from xaibench import load_data, load_model

    model = load_model("evidence-cnn")
    seen, test = load_data("evidence", split="train", n=3000), load_data("evidence", split="test", n=300)
    shape, texture = seen.labels // 2, seen.labels % 2
    concepts = {
        "striped": seen.inputs[texture == 0][:400],
        "checked": seen.inputs[texture == 1][:400],
        "disc": seen.inputs[shape == 0][:400],
        "random": seen.inputs[:400],
    }
    x = test.inputs[test.labels == 1]
    found = tcav(model, concepts, x, 1, "stage3", random_inputs=seen.inputs[1400:], pool="mean")
    assert test.class_names[1] == "checked disc"
    for concept, low, high in (("striped", 0.0, 0.1), ("checked", 0.9, 1.0), ("disc", 0.9, 1.0)):
        score = found.of(concept, "stage3")
        assert low <= score.score <= high
        assert score.significant
        assert score.accuracy > 0.6
    assert not found.of("random", "stage3").significant


def test_directions_are_those_of_logistic_regression_over_all_units() -> None:
    from sklearn.linear_model import LogisticRegression

    concept, others = _features(30, 1).double() + 0.7 * PLANTED, 2 * _features(24, 2).double() - 1
    found = concept_direction(concept, others)
    fitted = torch.cat([concept[:20], others[:16]])
    scale = float((fitted - fitted.mean(0)).square().sum(1).mean().sqrt())
    labels = np.repeat([1, 0], [20, 16])
    direct = LogisticRegression(C=1.0, max_iter=1000, tol=1e-8).fit(((fitted - fitted.mean(0)) / scale).numpy(), labels)
    vector = torch.from_numpy(direct.coef_[0])
    torch.testing.assert_close(found.vector, vector / vector.norm(), atol=1e-3, rtol=0)
    kept = torch.cat([concept[20:], others[16:]])
    right = direct.predict(((kept - fitted.mean(0)) / scale).numpy()) == np.repeat([1, 0], [10, 8])
    assert found.accuracy == pytest.approx(right.mean())
    again = concept_direction(1000 * concept + 5, 1000 * others + 5)
    torch.testing.assert_close(again.vector, found.vector, atol=1e-6, rtol=0)


def test_the_paired_test_is_students_and_holms_correction_steps_down() -> None:
    from scipy.stats import ttest_1samp

    differences = [0.3, -0.1, 0.5, 0.2, 0.4]
    assert _paired_test(differences) == pytest.approx(ttest_1samp(differences, 0).pvalue)
    assert _paired_test([-value for value in differences]) == pytest.approx(_paired_test(differences))
    assert _paired_test([0.0] * 5) == 1.0
    assert _paired_test([1.0] * 5) == 2 * 0.5**5
    model, x = _net(), _features(5, 0)
    many = {str(index): _features(60, index) for index in range(4)}
    scores = tcav(model, many, x, 0, "hidden", random_inputs=_features(120, 9), runs=4).scores
    made = [_with_p(score, p) for score, p in zip(scores, (0.03, 0.01, 0.02, 0.5), strict=True)]
    # 4 x 0.01, then 3 x 0.02, then 2 x 0.03 and 1 x 0.5, none below the one before.
    assert [score.p_adjusted for score in _corrected(made)] == pytest.approx([0.06, 0.04, 0.06, 0.5])


def _with_p(score: Any, p: float) -> Any:
    from dataclasses import replace

    return replace(score, p_value=p)


def test_results_depend_on_the_seed_alone_and_nothing_changes() -> None:
    model, x = _net(), _features(12, 0)
    concept, others = _features(64, 1) + PLANTED, _features(130, 2)
    before, digest = concept.clone(), model.digest
    found = tcav(model, concept, x, 0, ["hidden", "hidden"], random_inputs=others, runs=4, seed=5)
    assert tcav(model, concept, x, 0, "hidden", random_inputs=others, runs=4, seed=5, memory=1) == found
    assert tcav(model, concept, x, 0, "hidden", random_inputs=others, runs=4, seed=6) != found
    assert [score.concept for score in found.scores] == ["concept"]
    assert found.size == 16
    assert torch.equal(concept, before)
    assert model.digest == digest


def test_pooled_directions_do_not_see_places() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = TorchClassifier(nn.Sequential(*module, nn.Linear(4, 2)), input_shape=(1, 6, 6))
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(90, 1, 6, 6, generator=generator)
    options: dict[str, Any] = {"random_inputs": images[30:], "runs": 4, "pool": "mean"}
    pooled = tcav(model, images[:30] ** 2, images[:8], 0, "1", **options).scores[0]
    # A mean over places says what the pooling layer says, and so does its slope.
    same = tcav(model, images[:30] ** 2, images[:8], 0, "2", **options).scores[0]
    assert pooled.scores == same.scores
    assert pooled.accuracy == same.accuracy


def test_what_cannot_be_tested_is_one_clear_line() -> None:
    model, x = _net(), _features(5, 0)
    concept, others = _features(60, 1), _features(120, 2)
    cases: tuple[tuple[tuple[Any, ...], dict[str, Any], str], ...] = (
        ((concept[:1], x, 0, "hidden"), {}, "expected at least 12 inputs of concept 'concept' for 4 runs, got 1"),
        ((concept, x, 0, "hidden"), {"random_inputs": others[:20]}, "expected at least 24 random inputs .*, got 20"),
        ((concept, x[:0], 0, "hidden"), {}, "expected at least one input, got none"),
        ((concept, x, 2, "hidden"), {}, r"expected target in 0\.\.1, got 2"),
        ((concept, x, 0, "hiden"), {}, "unknown layer 'hiden'; did you mean 'hidden'"),
        ((concept, x, 0, ()), {}, "expected at least one concept and one layer, got 1 and 0"),
        ((concept, x, 0, "hidden"), {"runs": 1}, "expected `runs` >= 2, got 1"),
        ((concept, x, 0, "hidden"), {"pool": "max"}, "expected `pool` as 'none' or 'mean', got 'max'"),
        ((concept * 0, x, 0, "hidden"), {"random_inputs": others * 0}, "expected activations that differ"),
    )
    for arguments, options, message in cases:
        with pytest.raises(InputError, match=message) as refused:
            tcav(model, *arguments, **{"random_inputs": others, "runs": 4, **options})
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="expected at least two inputs of a concept and two others, got 1, 5"):
        concept_direction(concept[:1], others[:5])
    with pytest.raises(UnsupportedError, match="expected finite activations"):
        concept_direction(concept[:4] / 0, others[:5])


def test_layers_that_the_logit_ignores_are_refused() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.head = nn.Linear(D, 4), nn.Linear(D, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) + 0 * self.hidden(x)[:, :2]

    model = TorchClassifier(Aside(), task="tabular", input_shape=(D,), bounds=(-9, 9))
    with pytest.raises(UnsupportedError, match="expected a layer that the logit of class 0 depends on, got 'hidden'"):
        tcav(model, _features(60, 1), _features(5, 0), 0, "hidden", random_inputs=_features(120, 2), runs=4)
