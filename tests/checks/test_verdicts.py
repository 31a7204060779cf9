"""Broken defences are found out, by the right check; honest models are not slandered."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from broken import BROKEN, broken
from torch import Tensor

from xaibench import evaluate_robustness, load_data, load_model
from xaibench.checks import Outcome
from xaibench.threats import feature_scale, threat
from xaibench.types import Classifier

ATTACKS = ["apgd_ce:steps=10", "apgd_t:steps=15,targets=2"]
N = 16


def examined(model: Classifier, x: Tensor, y: Tensor, eps: float, attack: list[str]) -> tuple[str, dict[str, Outcome]]:
    """The verdict, and the outcomes by check."""
    ball = threat("linf", eps, feature_scale(model.task, model.bounds))
    result = evaluate_robustness(model, x, y, threat=ball, attack=attack, certify=False)
    assert result.checks is not None
    return result.checks.verdict, {found.check: found for found in result.checks.outcomes}


CAUSES = {
    "vanishing": ("unreliable", {"zero_gradients": "warning", "one_step_beats_many": "fail"}, ["pgd:steps=10"]),
    "quantised": ("unreliable", {"zero_gradients": "fail", "unbounded_attack": "fail"}, ATTACKS),
    "straight-through": ("unreliable", {"finite_differences": "fail"}, ATTACKS),
    "noise": ("unreliable", {"random_model": "fail"}, ATTACKS),
    "shattered": ("doubtful", {"unstable_gradients": "warning"}, ATTACKS),
    "detached-median": ("unreliable", {"finite_differences": "fail"}, ATTACKS),
    "through-numpy": ("doubtful", {"zero_gradients": "warning"}, ["square:queries=100"]),
    "softmax-twice": ("doubtful", {"probabilities_not_logits": "warning"}, ATTACKS),
    "flipped": ("unreliable", {"finite_differences": "fail", "unbounded_attack": "fail"}, ATTACKS),
    "clipped": ("unreliable", {"zero_gradients": "fail", "unbounded_attack": "fail"}, ATTACKS),
    "batch-norm": ("unreliable", {"batch_dependence": "fail"}, ATTACKS),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_defence_is_found_out_by_the_right_check(name: str) -> None:
    least, causes, attack = CAUSES[name]
    data = load_data("digits", n=N)
    assert isinstance(data.inputs, Tensor)
    verdict, found = examined(broken(name), data.inputs, data.labels, 0.15, attack)
    assert {check: found[check].status for check in causes} == causes
    assert verdict in {"doubtful": ("doubtful", "unreliable"), "unreliable": ("unreliable",)}[least]


HONEST = {
    "digits-cnn": ("digits", 0.1),
    "digits-cnn-robust": ("digits", 0.1),
    "digits-mlp": ("digits", 0.05),
    "cancer-mlp": ("breast-cancer", 0.05),
    "evidence-cnn": ("evidence", 0.02),
    "mnist-cnn": ("digits", 0.05),
    "mnist-cnn-robust": ("digits", 0.2),
    "mnist-mlp": ("digits", 0.05),
    "mnist-autoencoder": ("digits", 0.05),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_model_is_not_called_unreliable(name: str) -> None:
    source, eps = HONEST[name]
    model, data = load_model(name), load_data(source, n=N)
    assert isinstance(data.inputs, Tensor)
    x, y = data.inputs, data.labels
    if model.input_shape == (1, 28, 28):
        # Digits enlarged stand in for those of MNIST; the labels are the model's own answers.
        x = F.interpolate(x, (28, 28), mode="bilinear").clamp(0, 1)
        y = model.predict(x).cpu()
    verdict, found = examined(model, x, y, eps, ATTACKS)
    assert verdict != "unreliable", [outcome for outcome in found.values() if outcome.status == "fail"]
    # A short list of attacks is made here, which a little more effort may outdo.
    assert {check for check, outcome in found.items() if outcome.status == "warning"} <= {"more_effort"}
    assert found["stored_adversarials"].status == "pass"
    assert torch.isfinite(
        torch.tensor([outcome.figure for outcome in found.values() if outcome.figure is not None])
    ).all()
